"""Our own certificate authority. Of a request only the public key is taken: every name in a certificate is ours."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stackly import clock
from stackly.agents.model import KeyUnusable
from stackly.errors import Faulty
from stackly.secrets import private_file

_AUTHORITY_LIFETIME = timedelta(days=3650)
_SERVER_LIFETIME = timedelta(days=365)  # of one process; its key is in memory only
_SKEW = timedelta(minutes=1)  # an agent's clock may lag ours
TRUST_DOMAIN = "stackly"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Shape: `serial` is lower-case hex without leading zeros."""

    pem: bytes
    serial: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    key_pem: bytes = field(repr=False)
    certificate_pem: bytes


def agent_uri(account: str, agent: str) -> str:
    return f"spiffe://{TRUST_DOMAIN}/acct/{account}/agent/{agent}"


def agent_of(uri: str) -> tuple[str, str] | None:
    """(account, agent) of a URI we issued; None for any other."""
    match uri.split("/"):
        case ["spiffe:", "", domain, "acct", account, "agent", agent] if domain == TRUST_DOMAIN and account and agent:
            return account, agent
    return None


class Authority:
    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, directory: Path) -> "Authority":
        """The authority of a directory (0700), made the first time. Raises: Faulty when its file is damaged."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = private_file(directory / "authority.pem", _new_authority)
        try:
            key = load_pem_private_key(pem, password=None)
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError as e:
            raise Faulty(f"{directory / 'authority.pem'} holds no authority: {e}") from e
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Faulty(f"{directory / 'authority.pem'} holds a key of another kind.")
        return cls(key, certificate)

    @property
    def ca_pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, public_key_pem: bytes, account: str, agent: str, lifetime: timedelta) -> Certificate:
        """A client certificate for one agent. Raises: KeyUnusable."""
        key = _public_key(public_key_pem)
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(agent_uri(account, agent))])
        return self._sign(key, san, ExtendedKeyUsageOID.CLIENT_AUTH, lifetime)

    def server_identity(self, names: tuple[str, ...] = ("localhost", "127.0.0.1")) -> ServerIdentity:
        """A key and certificate for the gateway, in memory only."""
        key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([_general_name(n) for n in names])
        made = self._sign(key.public_key(), san, ExtendedKeyUsageOID.SERVER_AUTH, _SERVER_LIFETIME)
        return ServerIdentity(_private_pem(key), made.pem)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        san: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
        lifetime: timedelta,
    ) -> Certificate:
        at = clock.now()
        serial = x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(serial)
            .not_valid_before(at - _SKEW)
            .not_valid_after(at + lifetime)
            .add_extension(san, critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Certificate(pem, f"{serial:x}", certificate.not_valid_after_utc)


def serial_of(certificate_pem: bytes) -> str:
    return f"{x509.load_pem_x509_certificate(certificate_pem).serial_number:x}"


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise KeyUnusable from e
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise KeyUnusable
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _new_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stackly agents")])
    at = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + _AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _private_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)
