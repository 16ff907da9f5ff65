"""Keys of accounts, what is derived from them, and what is sealed with them. A Vault serves the same Protocol."""

import base64
import fcntl
import json
import os
import secrets as chance
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stackly.errors import Faulty, NotFound
from stackly.ids import new_id

KEY_BYTES = 32
_NONCE_BYTES = 12
_SEAL_HEAD = struct.Struct(">BI")  # format, key version
_SEAL_FORMAT = 1


class KeyNotFound(NotFound):
    title = "The keyring holds no such key."


class SealBroken(Faulty):
    title = "What was sealed does not open: it was changed, or belongs elsewhere."


class KeySource(Protocol):
    """Where account keys come from: a file on one machine, Vault elsewhere."""

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        """The key of that version, or the current one. Shape: 32 bytes. Raises: KeyNotFound."""
        ...

    def versions(self, account: str) -> Mapping[int, bytes]:
        """Every version that still decrypts."""
        ...


def private_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of a 0600 file, made by the first of any number of processes that ask."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = _write_part(path, make())
    try:
        os.link(part, path)  # fails where another process was first, and never replaces
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_bytes()


def replace_private_file(path: Path, data: bytes) -> None:
    _write_part(path, data).replace(path)


def _write_part(path: Path, data: bytes) -> Path:
    part = path.with_name(f".{path.name}.{new_id()}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return part


class Keyring:
    """A KeySource in one 0600 JSON file. An account's first key is made when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, dict[int, bytes]] = {}

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        found = self._find(account, version)
        if found is None:
            self._load()
            found = self._find(account, version)
        if found is None and version is None:
            self.rotate(account, only_first=True)
            found = self._find(account, None)
        if found is None:
            raise KeyNotFound(f"The keyring holds no key {version} of account {account}.", account=account)
        return found

    def versions(self, account: str) -> Mapping[int, bytes]:
        self.key(account)
        return dict(self._keys[account])

    def rotate(self, account: str, *, only_first: bool = False) -> int:
        """Make a new current key; older ones still open what they sealed. Other processes see it when they reload."""
        with self._locked():
            self._load()
            keys = self._keys.setdefault(account, {})
            if not (keys and only_first):
                keys[max(keys, default=0) + 1] = chance.token_bytes(KEY_BYTES)
                self._save()
            return max(keys)

    def _find(self, account: str, version: int | None) -> tuple[int, bytes] | None:
        keys = self._keys.get(account, {})
        wanted = max(keys, default=0) if version is None else version
        return (wanted, keys[wanted]) if wanted in keys else None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _load(self) -> None:
        try:
            told: dict[str, Any] = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        except ValueError as e:
            raise Faulty(f"{self._path} is not a keyring: {e}") from e
        self._keys = {
            account: {int(version): base64.b64decode(key) for version, key in keys.items()}
            for account, keys in told["accounts"].items()
        }

    def _save(self) -> None:
        told = {
            "accounts": {
                account: {str(version): base64.b64encode(key).decode() for version, key in keys.items()}
                for account, keys in self._keys.items()
            }
        }
        replace_private_file(self._path, json.dumps(told, indent=1).encode())


def derive(key: bytes, info: str, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA256: keys of one purpose each out of one key."""
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info.encode()).derive(key)


def seal(keys: KeySource, account: str, plaintext: bytes, aad: str) -> bytes:
    """Encrypt for a row. `aad` names the row (`hooks/{id}`), so that a copy in another row does not open."""
    version, key = keys.key(account)
    head = _SEAL_HEAD.pack(_SEAL_FORMAT, version)
    nonce = chance.token_bytes(_NONCE_BYTES)
    cipher = AESGCM(derive(key, "stackly/seal"))
    return head + nonce + cipher.encrypt(nonce, plaintext, head + f"{account}|{aad}".encode())


def unseal(keys: KeySource, account: str, sealed: bytes, aad: str) -> bytes:
    """Raises: SealBroken; KeyNotFound when the key's version is gone."""
    head, rest = sealed[: _SEAL_HEAD.size], sealed[_SEAL_HEAD.size :]
    if len(head) < _SEAL_HEAD.size or head[0] != _SEAL_FORMAT:
        raise SealBroken("This was not sealed by us.")
    _, version = _SEAL_HEAD.unpack(head)
    cipher = AESGCM(derive(keys.key(account, version)[1], "stackly/seal"))
    try:
        return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + f"{account}|{aad}".encode())
    except (InvalidTag, ValueError) as e:
        raise SealBroken from e


@dataclass(frozen=True, slots=True)
class TestCredentials:
    """What the databases of one test are opened with."""

    __test__ = False  # pytest: no test class

    superuser: str
    superuser_password: str = field(repr=False)
    user: str
    user_password: str = field(repr=False)
    database: str


def test_credentials(key: bytes, run: str, test: str) -> TestCredentials:
    """Look random, and come out the same for the same test: so nobody stores them."""

    def piece(name: str, length: int) -> str:
        return base64.b32encode(derive(key, f"stackly/test/{run}/{test}/{name}", length)).decode().rstrip("=").lower()

    return TestCredentials(
        superuser=f"admin_{piece('superuser', 5)}",
        superuser_password=piece("superuser_password", 25),
        user=f"bench_{piece('user', 5)}",
        user_password=piece("user_password", 25),
        database="bench",
    )


test_credentials.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test when a test module imports it
