"""A GitHub App's two credentials: a JWT that says who the App is, and tokens of its installations.

Source: github.md section 3. A token is opaque text of any length; it is kept in memory, and never told to a log.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stackly import clock
from stackly.errors import Invalid
from stackly.git.github_rest import Rest, UpstreamFailed

# GitHub refuses a JWT from the future, and one that lasts longer than ten minutes: clocks differ by less than one.
_BACKDATED_S = 60
_LASTS_S = 9 * 60
_RENEW_BEFORE = timedelta(minutes=5)


class AppKeyInvalid(Invalid):
    title = "The GitHub App's private key cannot be used."


@dataclass(frozen=True)
class AppKey:
    """Shape: `app` is the App's client id, or its number; `pem` the private key GitHub gave for it."""

    app: str
    pem: bytes = field(repr=False)

    def __post_init__(self) -> None:
        try:
            key = load_pem_private_key(self.pem, None)
        except (ValueError, TypeError) as e:
            raise AppKeyInvalid("It is no PEM without a password; download it again from the App's page.") from e
        if not isinstance(key, RSAPrivateKey):
            raise AppKeyInvalid("GitHub signs with RSA; this key is of another kind.")

    def jwt(self) -> str:
        now = int(clock.now().timestamp())
        claims = {"iat": now - _BACKDATED_S, "exp": now + _LASTS_S, "iss": self.app}
        return jwt.encode(claims, self.pem, algorithm="RS256")


@dataclass
class AppTokens:
    """Tokens of installations, each asked for once and kept until shortly before GitHub ends it."""

    rest: Rest
    key: AppKey
    _kept: dict[int, tuple[str, float]] = field(default_factory=dict, repr=False)
    _locks: dict[int, asyncio.Lock] = field(default_factory=dict, repr=False)

    async def of(self, installation: int) -> str:
        """Raises: UpstreamNotFound when it was uninstalled, UpstreamRefused when it is suspended."""
        async with self._locks.setdefault(installation, asyncio.Lock()):
            token, until = self._kept.get(installation, ("", 0.0))
            if clock.monotonic() < until:
                return token
            self._kept.pop(installation, None)
            path = f"app/installations/{installation}/access_tokens"
            told = await self.rest.json("POST", path, {}, token=self.key.jwt())
            try:
                token = str(told["token"])
                lasts = clock.parse(str(told["expires_at"])) - clock.now() - _RENEW_BEFORE
            except (KeyError, TypeError, ValueError) as e:
                raise UpstreamFailed("GitHub's answer holds no installation token.") from e
            self._kept[installation] = (token, clock.monotonic() + lasts.total_seconds())
            return token

    def forget(self, installation: int) -> None:
        """It was suspended or uninstalled: what is kept of it is worth nothing."""
        self._kept.pop(installation, None)
