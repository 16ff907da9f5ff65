"""The client's manners: limits are kept, retries are safe, tokens are opaque and never told."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from stackly import clock
from stackly.git.github_app import AppKey, AppKeyInvalid
from stackly.git.github_client import GitHub
from stackly.git.github_rest import (
    GitHubHost,
    RepositoryAddressInvalid,
    Rest,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamNotFound,
    UpstreamRefused,
    UpstreamUnavailable,
)

HOST = GitHubHost("https://git.test", "https://git.test/api/v3")
REPO = {"id": 7, "full_name": "octo/stacks", "clone_url": "https://git.test/octo/stacks.git", "default_branch": "main"}
Answer = httpx.Response | Exception


@dataclass
class Upstream:
    """Answers from a list, and remembers what it was asked. `slept` is what the client waited."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    route: Callable[[httpx.Request], httpx.Response] | None = None

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.route is not None:
            return self.route(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def rest(self, patience_s: float = 5.0) -> Rest:
        return Rest(HOST, httpx.MockTransport(self.handle), patience_s, self.sleep)

    def github(self, token: str | None = "t0ken", app: AppKey | None = None) -> GitHub:
        return GitHub(HOST, token, app, rest=self.rest())


def ok(body: object = REPO, **headers: str) -> httpx.Response:
    return httpx.Response(200, json=body, headers=headers)


@pytest.fixture(scope="module")
def pem() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize(
    ("web", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://github.com/", "https://api.github.com"),
        ("https://cobalt.ghe.com", "https://api.cobalt.ghe.com"),
        ("https://git.cobalt.example", "https://git.cobalt.example/api/v3"),
        ("https://github.com.evil.example", "https://github.com.evil.example/api/v3"),
    ],
)
def test_where_the_api_stands(web: str, api: str) -> None:
    assert GitHubHost.of(web).api == api


async def test_an_enterprise_server_is_asked_below_its_own_address() -> None:
    upstream = Upstream([ok()])
    assert (await upstream.github().repository("octo/stacks")).github_id == 7
    [request] = upstream.asked
    assert str(request.url) == "https://git.test/api/v3/repos/octo/stacks"
    assert request.headers["authorization"] == "Bearer t0ken"
    assert request.headers["x-github-api-version"]


ELSEWHERE = [
    "https://evil.test/a/b",
    "a",
    "a/..",
    "a/b/c",
    "https://git.test@evil.test/a/b",
    "a/.",
    "./b",
    "../b",
    "a/.git",
]
NO_URL = ["http://[::1", "https://[git.test]/a/b", "https://git.test]/a/b", "http://\u2100/a/b"]


@pytest.mark.parametrize("url", ELSEWHERE + NO_URL)
def test_no_address_leads_elsewhere(url: str) -> None:
    with pytest.raises(RepositoryAddressInvalid):
        Upstream().github().full_name_of(url)


def test_an_address_elsewhere_is_refused_with_what_was_asked_and_what_to_do() -> None:
    with pytest.raises(RepositoryAddressInvalid) as refused:
        Upstream().github().full_name_of("https://u:secret@evil.test/a/b")
    for said in ("evil.test was not asked", "https://git.test alone", "docs/github.md", "stackly repo create NAME"):
        assert said in refused.value.detail
    assert "secret" not in refused.value.detail


def test_dots_within_a_name_are_part_of_it() -> None:
    assert Upstream().github().full_name_of("a/b..c") == "a/b..c"


# Limits


async def test_a_limit_that_passes_soon_is_waited_for() -> None:
    upstream = Upstream([httpx.Response(429, headers={"Retry-After": "2"}), ok()])
    await upstream.github().repository("octo/stacks")
    assert upstream.slept == [pytest.approx(2, abs=0.5)]


async def test_a_limit_that_lasts_is_told_and_nobody_asks_meanwhile() -> None:
    reset = str(int(clock.now().timestamp()) + 900)
    limited = httpx.Response(403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset})
    upstream = Upstream([limited])
    github = upstream.github()
    for _ in range(3):
        with pytest.raises(UpstreamLimited) as refused:
            await github.repository("octo/stacks")
        assert 800 < refused.value.fields["retry_after_s"] <= 900
    assert len(upstream.asked) == 1
    assert upstream.slept == []


async def test_a_secondary_limit_without_a_time_costs_a_minute_and_then_two() -> None:
    said = {"message": "You have exceeded a secondary rate limit."}
    upstream = Upstream([httpx.Response(403, json=said), httpx.Response(403, json=said), ok()])
    rest = upstream.rest(patience_s=1000)
    await rest.json("GET", "repos/octo/stacks")
    assert upstream.slept[0] == pytest.approx(60, abs=1)
    assert upstream.slept[1] == pytest.approx(120, abs=1)


async def test_limits_of_one_credential_are_not_anothers() -> None:
    upstream = Upstream([httpx.Response(429, headers={"Retry-After": "900"}), ok()])
    rest = upstream.rest()
    with pytest.raises(UpstreamLimited):
        await rest.json("GET", "user", token="one")
    await rest.json("GET", "user", token="two")


async def test_a_403_that_is_no_limit_is_a_refusal() -> None:
    upstream = Upstream([httpx.Response(403, json={"message": "Resource not accessible by integration"})])
    with pytest.raises(UpstreamRefused):
        await upstream.github().repository("octo/stacks")


# Retries


async def test_a_read_is_tried_again_and_a_write_whose_effect_is_unknown_is_not() -> None:
    upstream = Upstream([httpx.ConnectError("x"), httpx.Response(502), ok()])
    await upstream.github().repository("octo/stacks")
    assert len(upstream.asked) == 3
    for failure in (httpx.ReadTimeout("x"), httpx.Response(502)):
        writing = Upstream([failure])
        with pytest.raises(UpstreamUnavailable):
            await writing.github().redeliver("octo/stacks", "1", 2)
        assert len(writing.asked) == 1


async def test_a_write_that_was_refused_for_its_number_was_not_done_and_is_sent_again() -> None:
    upstream = Upstream([httpx.Response(429, headers={"Retry-After": "1"}), httpx.Response(202, json={})])
    await upstream.github().redeliver("octo/stacks", "1", 2)
    assert [r.method for r in upstream.asked] == ["POST", "POST"]


# Conditional requests and pages


async def test_an_unchanged_answer_is_not_sent_twice() -> None:
    upstream = Upstream([ok(etag='"v1"'), httpx.Response(304), ok({**REPO, "archived": True}, etag='"v2"')])
    github = upstream.github()
    first, second, third = [await github.repository_by_id(7) for _ in range(3)]
    assert first == second
    assert third.archived
    assert [r.headers.get("if-none-match") for r in upstream.asked] == [None, '"v1"', '"v1"']


async def test_pages_follow_the_link_and_never_to_another_host() -> None:
    row = {"id": 3, "guid": "g", "event": "push", "status_code": 202, "redelivery": False, "repository_id": 7}
    link = {"link": '<https://git.test/api/v3/repositories/7/hooks/1/deliveries?cursor=x>; rel="next"'}
    upstream = Upstream([ok([row], **link), ok([{**row, "id": 2, "status_code": 502}])])
    found = [d async for d in upstream.github().deliveries("octo/stacks", "1")]
    assert [(d.id, d.ok) for d in found] == [(3, True), (2, False)]
    evil = Upstream([ok([row], link='<https://evil.test/x>; rel="next"')])
    with pytest.raises(UpstreamFailed):
        [d async for d in evil.github().deliveries("octo/stacks", "1")]
    assert len(evil.asked) == 1


async def test_a_renamed_repository_is_followed_by_its_number_and_not_elsewhere() -> None:
    moved = httpx.Response(301, headers={"location": "https://git.test/api/v3/repositories/7"})
    assert (await Upstream([moved, ok()]).github().repository("octo/old")).full_name == "octo/stacks"
    away = httpx.Response(301, headers={"location": "https://evil.test/repositories/7"})
    with pytest.raises(UpstreamFailed):
        await Upstream([away]).github().repository("octo/old")


async def test_another_repository_than_the_one_asked_for_is_refused() -> None:
    with pytest.raises(UpstreamFailed):
        await Upstream([ok({**REPO, "id": 8})]).github().repository_by_id(7)


# The App


def test_the_jwt_is_rs256_backdated_and_short(pem: bytes) -> None:
    public = serialization.load_pem_private_key(pem, None).public_key()
    token = AppKey("Iv23", pem).jwt()
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    claims = jwt.decode(token, public, algorithms=["RS256"], issuer="Iv23")  # type: ignore[arg-type]  # it is RSA
    now = clock.now().timestamp()
    assert now - 65 <= claims["iat"] <= now - 55
    assert claims["exp"] - now <= 600
    assert claims["exp"] - claims["iat"] <= 600


def test_a_key_of_another_kind_is_refused() -> None:
    other = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for bad in (other, b"", b"-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\n"):
        with pytest.raises(AppKeyInvalid):
            AppKey("1", bad)


class Installed:
    """An installation whose tokens are long, and live as long as the test says."""

    def __init__(self, lasts: timedelta) -> None:
        self.lasts = lasts
        self.given = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/access_tokens"):
            self.given += 1
            expires = clock.iso(clock.now() + self.lasts)
            return httpx.Response(201, json={"token": f"ghs_{'x' * 400}.{self.given}", "expires_at": expires})
        return ok()


async def test_an_installations_token_is_opaque_and_asked_for_once_until_shortly_before_its_end(pem: bytes) -> None:
    for lasts, wanted in ((timedelta(hours=1), 1), (timedelta(minutes=4), 3)):
        installed = Installed(lasts)
        upstream = Upstream(route=installed)
        github = upstream.github(token=None, app=AppKey("1", pem))
        for _ in range(3):
            await github.repository("octo/stacks", installation=5)
        assert installed.given == wanted
        last = upstream.asked[-1]
        assert last.headers["authorization"] == f"Bearer ghs_{'x' * 400}.{wanted}"


async def test_no_secret_stands_in_a_repr_or_a_log(pem: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    upstream = Upstream([httpx.Response(429, headers={"Retry-After": "900"})])
    github = upstream.github(app=AppKey("1", pem))
    with pytest.raises(UpstreamLimited) as refused:
        await github.repository("octo/stacks")
    said = capsys.readouterr()
    told = [repr(github), repr(vars(github)), str(refused.value), json.dumps(refused.value.fields), said.out, said.err]
    for text in told[2:]:
        assert "t0ken" not in text
    assert pem.decode().splitlines()[1] not in repr(github._app)
    assert "t0ken" not in repr(github._rest)


async def test_an_uninstalled_app_is_not_found(pem: bytes) -> None:
    upstream = Upstream([httpx.Response(404), httpx.Response(404)])
    github = upstream.github(app=AppKey("1", pem))
    with pytest.raises(UpstreamNotFound):
        await github.installation(5)
    assert await github.installation_of("octo/stacks") is None
