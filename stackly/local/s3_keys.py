"""What closes SeaweedFS on a machine with other users and browsers: certificates for its parts, keys for its tokens.

Source: `weed scaffold -config=security`. Its parts trust everybody by default, and the master deletes a bucket for
whoever sends a GET; with this only what holds the home's certificate is heard, and S3 itself asks for signatures.
"""

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stackly import clock
from stackly.local.home import write_private
from stackly.secrets import derive

# Nobody's: browsers get no leave to read from anywhere.
NO_ORIGIN = "http://nobody.invalid"
_LIFETIME = dt.timedelta(days=3650)
_PARTS = ("master", "volume", "filer", "s3", "client")
_SERVERS = ("master", "volume", "filer")
_TOKENS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_TOKEN_S = 60


@dataclass(frozen=True, slots=True)
class S3Keys:
    """Shape: `folder` is private, and where `weed` runs: it reads `security.toml` there. `secret` is the home's."""

    folder: Path
    secret: str

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def make(self) -> None:
        """The certificates once, the configuration at every call: what an earlier release wrote is replaced."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if not (self.ca.exists() and self.certificate.exists() and self.key.exists()):
            self._certify()
        write_private(self.folder / "security.toml", self._configuration())

    def context(self) -> ssl.SSLContext:
        """As one of its parts: trusts the home's authority alone, and shows the certificate."""
        made = ssl.create_default_context(cafile=str(self.ca))
        made.load_cert_chain(self.certificate, self.key)
        return made

    def token(self, name: str) -> str:
        """Shape: `name` as in security.toml."""
        return jwt.encode({"exp": int(clock.now().timestamp()) + _TOKEN_S}, self._signing(name), algorithm="HS256")

    def _signing(self, name: str) -> str:
        return derive(self.secret.encode(), f"stackly/s3/{name}").hex()

    def _configuration(self) -> str:
        files = f'cert = "{self.certificate}"\nkey = "{self.key}"\n'
        parts = [f'[cors.allowed_origins]\nvalues = "{NO_ORIGIN}"\n', "[access]\nui = false\n"]
        parts += ["[filer.expose_directory_metadata]\nenabled = false\n"]
        parts += [f'[{name}]\nkey = "{self._signing(name)}"\n' for name in _TOKENS]
        parts += [f'[grpc]\nca = "{self.ca}"\n', *(f"[grpc.{part}]\n{files}" for part in _PARTS)]
        parts += [f'[https.{part}]\n{files}ca = "{self.ca}"\n' for part in _SERVERS]
        parts += [f'[https.client]\nenabled = true\n{files}ca = "{self.ca}"\n']
        return "\n".join(parts)

    def _certify(self) -> None:
        """An authority of this home, and one certificate of it; the authority's key is forgotten at once."""
        authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        issuer = _named("stackly s3 authority")
        authority = _begun(issuer, issuer, authority_key.public_key())
        authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        own = _begun(_named("stackly s3"), issuer, key.public_key())
        own = own.add_extension(x509.SubjectAlternativeName(names), critical=False)
        own = own.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        write_private(self.ca, _pem(authority.sign(authority_key, hashes.SHA256())))
        write_private(self.certificate, _pem(own.sign(authority_key, hashes.SHA256())))
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(self.key, encoded.decode())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begun(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = clock.now()
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), now - dt.timedelta(minutes=1), now + _LIFETIME
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
