"""What Temporal stores is ciphertext. Envelope: account key version -> HKDF with the workflow's id -> AES-256-GCM.

Control worker and site agents hold account keys; an edge agent holds the key of its test's workflow and nothing else.
"""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from stackly.errors import Faulty, StacklyError
from stackly.temporal.sealed import ENCODING, is_sealed, refused

_CIPHER = b"AES256-GCM"
_NONCE_BYTES = 12
# As Temporal appends it to the id of a workflow that a schedule starts.
_SCHEDULED_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class PayloadUnreadable(Faulty):
    title = "A payload cannot be decrypted with the keys held here."


class KeySource(Protocol):
    """The part of `stackly.secrets.KeySource` that payloads need; the agent does not import that room."""

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]: ...


@dataclass(frozen=True)
class PayloadKey:
    """Shape: `workflow` is the id the key was derived for; '' where Temporal names none."""

    account: str
    version: int
    workflow: str
    key: bytes = field(repr=False)


class PayloadKeys(Protocol):
    def current(self, workflow: str) -> PayloadKey: ...

    def find(self, account: str, version: int, workflow: str) -> PayloadKey:
        """Raises: PayloadUnreadable when this process does not hold it."""
        ...


@lru_cache(maxsize=4096)
def workflow_key(key: bytes, workflow: str) -> bytes:
    """The key of one workflow's payloads, out of an account key. Only this much is handed to an edge agent."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"stackly/payload/{workflow}".encode()).derive(
        key
    )


class AccountKeys:
    """Control worker, client and site agent. Shape: `account` is the account's id."""

    def __init__(self, source: KeySource, account: str) -> None:
        self._source = source
        self._account = account

    def current(self, workflow: str) -> PayloadKey:
        version, key = self._source.key(self._account)
        return PayloadKey(self._account, version, workflow, workflow_key(key, workflow))

    def find(self, account: str, version: int, workflow: str) -> PayloadKey:
        if account != self._account:
            raise PayloadUnreadable("It was sealed for another account.")
        _, key = self._source.key(account, version)
        return PayloadKey(account, version, workflow, workflow_key(key, workflow))


@dataclass(frozen=True)
class HeldKeys:
    """A KeySource of keys that came with an enrolment; memory only."""

    account: str
    keys: Mapping[int, bytes] = field(repr=False)

    def key(self, account: str, version: int | None = None) -> tuple[int, bytes]:
        wanted = max(self.keys, default=0) if version is None else version
        if account != self.account or wanted not in self.keys:
            raise PayloadUnreadable(f"Key {wanted} of account {account} is not held here.")
        return wanted, self.keys[wanted]


@dataclass(frozen=True)
class OneWorkflow:
    """An edge agent: whatever it encodes belongs to its own workflow, and it reads nothing else."""

    held: PayloadKey

    def current(self, workflow: str) -> PayloadKey:
        if workflow not in {"", self.held.workflow}:
            raise PayloadUnreadable(f"This agent holds no key of workflow {workflow}.")
        return self.held

    def find(self, account: str, version: int, workflow: str) -> PayloadKey:
        if (account, version, workflow) != (self.held.account, self.held.version, self.held.workflow):
            raise PayloadUnreadable(f"This agent holds no key {version} of workflow {workflow}.")
        return self.held


def held_keys(account: str, given: Mapping[str, str]) -> HeldKeys:
    """Shape: `given` maps versions to base64, as an enrolment's `keys_json` carries them."""
    return HeldKeys(account, {int(version): base64.b64decode(key) for version, key in given.items()})


class EncryptedPayloads(PayloadCodec, WithSerializationContext):
    """Temporal says of each payload which workflow it belongs to; the codec's copy for that one carries its id."""

    def __init__(self, keys: PayloadKeys, workflow: str = "") -> None:
        self._keys = keys
        self._workflow = workflow

    def with_context(self, context: SerializationContext) -> "EncryptedPayloads":
        if isinstance(context, WorkflowSerializationContext | ActivitySerializationContext):
            return EncryptedPayloads(self._keys, context.workflow_id or "")
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(p) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Opens what was sealed for this very workflow; all else comes out as a payload that cannot be converted."""
        return [self._opened(p) for p in payloads]

    def _opened(self, payload: Payload) -> Payload:
        if not is_sealed(payload):
            return refused("it was not sealed")
        try:
            return self._decrypt(payload)
        except StacklyError as e:
            return refused(e.detail)

    def _encrypt(self, payload: Payload) -> Payload:
        key = self._keys.current(self._workflow)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(key.key).encrypt(nonce, payload.SerializeToString(), _bound(key))
        metadata = {
            "encoding": ENCODING,
            "encryption-cipher": _CIPHER,
            "key-account": key.account.encode(),
            "key-version": str(key.version).encode(),
            "key-workflow": key.workflow.encode(),
        }
        return Payload(metadata=metadata, data=nonce + sealed)

    def _decrypt(self, payload: Payload) -> Payload:
        try:
            account = payload.metadata["key-account"].decode()
            version = int(payload.metadata["key-version"])
            workflow = payload.metadata["key-workflow"].decode()
        except (KeyError, ValueError) as e:
            raise PayloadUnreadable("An encrypted payload does not name its key.") from e
        if not self._is_for_us(workflow):
            raise PayloadUnreadable("It was sealed for another workflow.")
        key = self._keys.find(account, version, workflow)
        try:
            plain = AESGCM(key.key).decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], _bound(key))
            return Payload.FromString(plain)
        except (InvalidTag, ValueError, DecodeError) as e:
            raise PayloadUnreadable("A payload was changed, or encrypted with another key.") from e

    def _is_for_us(self, sealed_for: str) -> bool:
        """A schedule's workflow is called by the schedule's own id and the time of its start."""
        if sealed_for == self._workflow:
            return True
        schedule, _, at = self._workflow.partition(f"{sealed_for}-")
        return not schedule and bool(sealed_for) and _SCHEDULED_AT.fullmatch(at) is not None


def _bound(key: PayloadKey) -> bytes:
    """A ciphertext opens only under the names that stand beside it."""
    return f"stackly|{key.account}|{key.version}|{key.workflow}".encode()
