"""Webhook addresses and their opened secrets, in memory; read again when something does not fit."""

from dataclasses import dataclass

from stackly import clock, ids, secrets
from stackly.db import Session, Transactions
from stackly.events import inbox
from stackly.git import signatures
from stackly.ids import AccountId, RepoId
from stackly.secrets import KeySource
from stackly.stacks import connections_store as connections

# A wrong signature may mean that the secret was rotated, also on another replica; it is looked up again this rarely. A
# rotation takes longer, so what is signed with a new secret is never refused for one that is remembered.
_RELOAD_AFTER_S = 0.2
_UNKNOWN_FOR_S = 1.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class KnownHook:
    """Shape: `secrets` are the current one, then the previous one, and so `sealed`. Without `repo` it serves many.

    `github_id` is GitHub's number of its repository.
    """

    id: str
    account: AccountId
    repo: RepoId | None
    secrets: tuple[bytes, ...]
    sealed: tuple[bytes, ...]
    read_at: float
    github_id: int | None = None

    def signed_by(self, body: bytes, signature: str) -> bytes | None:
        """The sealed form of the secret that made this signature over this body."""
        pairs = zip(self.secrets, self.sealed, strict=True)
        fits = [sealed for secret, sealed in pairs if signatures.verify([secret], body, signature)]
        return fits[0] if fits else None

    @property
    def is_stale(self) -> bool:
        return clock.monotonic() - self.read_at > _RELOAD_AFTER_S


def _aad(hook: str) -> str:
    return f"hooks/{hook}"


class HookBook:
    def __init__(self, transactions: Transactions, keyring: KeySource) -> None:
        self._transactions = transactions
        self._keyring = keyring
        self._known: dict[str, KnownHook] = {}
        self._unknown: dict[str, float] = {}
        self._repos: dict[tuple[AccountId, int], RepoId] = {}

    async def get(self, hook: str) -> KnownHook | None:
        return self._known.get(hook) or await self.reload(hook)

    async def reload(self, hook: str) -> KnownHook | None:
        """Raises: Unavailable when Postgres does not answer."""
        if clock.monotonic() - self._unknown.get(hook, float("-inf")) < _UNKNOWN_FOR_S:
            return None
        async with self._transactions() as session:
            row = await inbox.find_hook(session, hook)
            number = await connections.number_of(session, row.repo) if row and row.repo else None
        if row is None:
            self._forget(hook)
            return None
        sealed = tuple(bytes(s) for s in (row.secret_sealed, row.previous_sealed) if s)
        opened = tuple(secrets.unseal(self._keyring, row.account, s, _aad(hook)) for s in sealed)
        known = KnownHook(
            hook, row.account, row.repo, secrets=opened, sealed=sealed, read_at=clock.monotonic(), github_id=number
        )
        self._known[hook] = known
        return known

    def _forget(self, hook: str) -> None:
        self._known.pop(hook, None)
        if len(self._unknown) >= _MOST:  # guessed addresses must not fill the memory
            self._unknown.clear()
        self._unknown[hook] = clock.monotonic()

    async def repo_of(self, account: AccountId, github_id: int) -> RepoId | None:
        """Which repository of ours GitHub's number is. Kept when it is one: a number never becomes another's."""
        known = self._repos.get((account, github_id))
        if known is not None:
            return known
        async with self._transactions() as session:
            found = await connections.find_repo(session, account, github_id)
        if found is not None:
            if len(self._repos) >= _MOST:
                self._repos.clear()
            self._repos[account, github_id] = found
        return found

    async def create(self, session: Session, account: AccountId, repo: RepoId | None) -> tuple[str, bytes]:
        """The hook of a repository, or the account's own, and its secret; made when there is none."""
        found = await inbox.find_hook_of(session, account, repo)
        if found is not None:
            return found.id, secrets.unseal(self._keyring, account, bytes(found.secret_sealed), _aad(found.id))
        hook, secret = ids.new_id(), ids.new_token().encode()
        sealed = secrets.seal(self._keyring, account, secret, _aad(hook))
        await inbox.insert_hook(session, inbox.Hook(hook, account, repo, sealed, None))
        return hook, secret

    async def rotate(self, session: Session, account: AccountId, hook: str) -> bytes:
        """A new secret for a hook. The present one stays good for what was signed with it, until the next rotation."""
        secret = ids.new_token().encode()
        await inbox.rotate_hook(session, hook, secrets.seal(self._keyring, account, secret, _aad(hook)))
        return secret
