"""Temporal's task tokens as agents get them: bound to the agent that was given the task, opened for no other."""

import hashlib
import hmac
import struct

from stackly.agents.model import NotYours
from stackly.errors import NotFound
from stackly.secrets import KeySource, derive

# The keyring's entry for it, beside those of accounts, whose ids are never a word: every replica seals alike.
KEYRING_ENTRY = "gateway"
# The SDK takes a token that begins with "local_act_" for a local activity's: the format's byte keeps it from that.
_HEAD = struct.Struct(">BI")  # format, key version
_FORMAT = 1
_MAC_BYTES = 32
_SEALED_FROM = _HEAD.size + _MAC_BYTES


class TaskTokens:
    """Nothing is remembered: another process, or a later one, opens what this one sealed."""

    def __init__(self, keys: KeySource) -> None:
        self._keys = keys

    def seal(self, agent: str, token: bytes) -> bytes:
        version, key = self._keys.key(KEYRING_ENTRY)
        head = _HEAD.pack(_FORMAT, version)
        return head + _mac(key, head, agent, token) + token

    def open(self, agent: str, sealed: bytes) -> bytes:
        """Raises: NotYours unless it was sealed for this agent."""
        head, mac, token = sealed[: _HEAD.size], sealed[_HEAD.size : _SEALED_FROM], sealed[_SEALED_FROM:]
        if token and head[0] == _FORMAT and self._is_ours(head, mac, agent, token):
            return token
        raise NotYours("This task was not given to this agent.")

    def _is_ours(self, head: bytes, mac: bytes, agent: str, token: bytes) -> bool:
        try:
            _, key = self._keys.key(KEYRING_ENTRY, _HEAD.unpack(head)[1])
        except NotFound:
            return False
        return hmac.compare_digest(mac, _mac(key, head, agent, token))


def _mac(key: bytes, head: bytes, agent: str, token: bytes) -> bytes:
    name = agent.encode()
    bound = head + struct.pack(">H", len(name)) + name + token
    return hmac.digest(derive(key, "stackly/task-token"), bound, hashlib.sha256)
