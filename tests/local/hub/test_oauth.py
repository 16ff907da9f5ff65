"""The web flow of OAuth: who may be sent where with what, and which code becomes a token."""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client

from stackly.local.hub.oauth import Granted, OAuth, OAuthApp, hashed
from stackly.local.hub.oauth_rules import granted, may_redirect
from tests.local.hub.conftest import start_hub, stop_hub
from tests.local.hub.oauth_parts import APP, CALLBACK, CLIENT, JSON, SECRET, VERIFIER, answer, challenge, opened

if TYPE_CHECKING:
    from tests.local.hub.oauth_parts import Login

S256 = {"code_challenge": challenge(), "code_challenge_method": "S256"}
HOSTILE = [
    "https://127.0.0.1:8000/auth",
    "http://evil.test/auth",
    "http://127.0.0.1.evil.test/auth",
    "http://127.0.0.1:8000@evil.test/auth",
    "http://evil.test:8000/auth",
    "http://user@127.0.0.1:8000/auth",
    "http://localhost:8000/auth",
    "//evil.test/auth",
    "/auth",
    "javascript:alert(1)",
    "http://127.0.0.1:8000/",
    "http://127.0.0.1:8000/authentic",
    "http://127.0.0.1:8000/auth/../admin",
    "http://127.0.0.1:8000/auth/%2e%2e/admin",
    "http://127.0.0.1:8000/auth/..%2fadmin",
    "http://127.0.0.1:8000/auth/%5c..%5cadmin",
    "http://127.0.0.1:8000\\@evil.test/auth",
    "http://127.0.0.1:8000/auth#code",
    "http://127.0.0.1:x/auth",
    "http://[::1/auth",
    "http://127.0.0.1:8000/auth\r\nSet-Cookie: a=b",
    "http://evil.test\t/auth",
    " http://127.0.0.1:8000/auth",
]


class Form(HTMLParser):
    """The fields of a page's form, and every tag on the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.append(tag)
        self.attributes |= set(told)
        if tag == "input":
            self.fields.append((told["name"] or "", told.get("value") or ""))

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name]


async def test_authlib_logs_a_person_in_with_pkce(tmp_path: Path) -> None:
    """Contract: a client that others wrote, over real HTTP."""
    hub = await start_hub(tmp_path / "hub", oauth=APP)
    redirect = "http://127.0.0.1:43210/auth/done"
    options = {"scope": "read:user user:email", "redirect_uri": redirect, "code_challenge_method": "S256"}
    client = AsyncOAuth2Client(CLIENT, SECRET, token_endpoint_auth_method="client_secret_post", **options)
    async with client:
        where, state = client.create_authorization_url(f"{hub.url}/login/oauth/authorize", code_verifier=VERIFIER)
        page = Form((await hub.client.get(where)).text)
        body = dict(page.fields) | {"login": "developer", "decision": "authorize"}
        sent = await hub.client.post("/login/oauth/authorize", data=body, headers={"Origin": hub.url})
        back = sent.headers["location"]
        assert (sent.status_code, back.startswith(f"{redirect}?code=")) == (303, True)
        token = await client.fetch_token(
            f"{hub.url}/login/oauth/access_token", authorization_response=back, state=state, code_verifier=VERIFIER
        )
        assert (token["token_type"], token["scope"]) == ("bearer", "read:user,user:email")
        me = (await client.get(f"{hub.url}/user")).json()
        assert (me["login"], me["user_view_type"]) == ("developer", "private")
        with pytest.raises(Exception, match="bad_verification_code"):
            await client.fetch_token(
                f"{hub.url}/login/oauth/access_token", authorization_response=back, state=state, code_verifier=VERIFIER
            )
    await stop_hub(hub)


# where an answer goes


async def test_an_unknown_application_gets_a_page_and_nothing_else(login: "Login") -> None:
    for told in ({"client_id": "other"}, {"client_id": ""}):
        got = await login.authorize(**told, redirect_uri="http://evil.test/", login="ada")
        assert (got.status_code, "location" in got.headers) == (404, False)
    assert (await login.client.get("/login/oauth/authorize")).status_code == 404


@pytest.mark.parametrize("redirect", HOSTILE)
async def test_no_answer_goes_to_an_address_that_is_not_the_applications(login: "Login", redirect: str) -> None:
    for got in (
        await login.authorize(redirect_uri=redirect, state="s", login="ada"),
        await login.authorize(redirect_uri=redirect, state="s"),
        await login.decide(redirect_uri=redirect, state="s", login="developer", decision="authorize"),
        await login.decide(redirect_uri=redirect, state="s", decision="cancel"),
    ):
        assert got.headers["location"].partition("?")[0] == CALLBACK
        told = answer(got)
        assert (told["error"], told["state"], "code" in told) == ("redirect_uri_mismatch", "s", False)


@pytest.mark.parametrize(
    ("redirect", "back"),
    [
        ("", CALLBACK),
        (CALLBACK, CALLBACK),
        (f"{CALLBACK}/", f"{CALLBACK}/"),
        (f"{CALLBACK}/github/done", f"{CALLBACK}/github/done"),
        ("http://127.0.0.1:1234/auth", "http://127.0.0.1:1234/auth"),
        (f"{CALLBACK}?keep=1&code=forged&state=forged", f"{CALLBACK}?keep=1"),
    ],
)
async def test_below_the_callback_and_on_any_loopback_port_answers_go(login: "Login", redirect: str, back: str) -> None:
    got = await login.authorize(**({"redirect_uri": redirect} if redirect else {}), state="s&<x", login="ada")
    assert re.match(re.escape(back) + r"[?&]code=", got.headers["location"])
    query = parse_qs(urlsplit(got.headers["location"]).query)
    assert (len(query["code"]), query["state"]) == (1, ["s&<x"])


def test_only_loopback_has_free_ports() -> None:
    assert not may_redirect("https://stackly.test/auth", "https://stackly.test:8443/auth")
    assert may_redirect("https://stackly.test/auth", "https://STACKLY.test:443/auth/x")
    assert may_redirect("http://[::1]:1/", "http://[::1]:2/x")
    assert may_redirect("http://127.0.0.1:1/", "http://127.0.0.1:2")


async def test_other_web_pages_cannot_consent_for_a_person(login: "Login") -> None:
    body = {"client_id": CLIENT, "login": "developer", "decision": "authorize"}
    for origin in ("http://evil.test", "null"):
        got = await login.client.post("/login/oauth/authorize", data=body, headers={"Origin": origin})
        assert got.status_code == 403


# the page


async def test_the_page_lists_people_and_says_what_is_asked(login: "Login") -> None:
    login.hub.people.known_as("ada")
    got = await login.authorize(state="s", scope="user:email nonsense read:org", redirect_uri=f"{CALLBACK}/x", **S256)
    page = Form(got.text)
    assert page.values("login") == ["developer", "ada"]
    assert (page.values("state"), page.values("code_challenge")) == (["s"], [challenge()])
    assert "user:email" in got.text
    assert "read:org" in got.text
    assert "nonsense" not in re.sub(r"<input[^>]*>", "", got.text)
    assert "script" not in page.tags
    assert {"main", "h1", "fieldset", "legend", "label"} <= set(page.tags)
    assert '<html lang="en">' in got.text
    assert "prefers-color-scheme:dark" in got.text
    policy = got.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self' http://127.0.0.1:8000;" in policy
    assert (got.headers["x-frame-options"], got.headers["cache-control"]) == ("DENY", "no-store")


async def test_whatever_is_told_is_escaped(login: "Login") -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
    login.hub.oauth.register(OAuthApp("evil", evil, CALLBACK, hashed("x")))
    login.hub.people._db.execute("INSERT INTO users (login) VALUES (?)", (evil,))
    told = {"client_id": "evil", "state": evil, "scope": evil, "redirect_uri": f"{CALLBACK}/'onclick='x"}
    for got in (
        await login.authorize(**told),
        await login.client.get("/login/device", params={"user_code": evil}),
        await login.client.post("/login/device", data={"user_code": evil, "login": evil, "decision": "authorize"}),
    ):
        page = Form(got.text)
        assert not {"script", "img"} & set(page.tags)
        assert not {"onclick", "onerror"} & page.attributes
        assert evil in [value for _, value in page.fields]


async def test_a_person_is_chosen_or_cancels(login: "Login") -> None:
    login.hub.people.known_as("Ada")
    chosen = await login.decide(state="s", login="Ada", decision="authorize")
    assert chosen.status_code == 303
    assert set(answer(chosen)) == {"code", "state"}
    refused = answer(await login.decide(state="s", login="Ada", decision="cancel"))
    assert (refused["error"], refused["state"]) == ("access_denied", "s")
    assert refused["error_description"] == "The user has denied your application access."
    assert "state" not in answer(await login.decide(decision="cancel"))
    for nobody in ("nobody", ""):
        again = await login.decide(state="s", login=nobody, decision="authorize")
        assert (again.status_code, "location" in again.headers) == (422, False)
        assert 'role="alert"' in again.text


async def test_login_consents_at_once_unless_the_person_shall_choose(login: "Login") -> None:
    login.hub.people.known_as("Ada")
    got = await login.exchange(await login.code("ADA"))
    person = login.hub.oauth.person(got["access_token"])
    assert person is not None
    assert person.login == "Ada"
    page = await login.authorize(login="ada", prompt="select_account", allow_signup="false")
    assert (page.status_code, 'value="Ada" checked' in page.text) == (200, True)
    assert (await login.authorize(login="../etc")).status_code == 200


# codes and tokens


async def test_a_code_becomes_one_token(login: "Login") -> None:
    code = await login.code(scope="user:email")
    got = await login.exchange(code)
    assert re.fullmatch(r"gho_[A-Za-z0-9]{36}", got["access_token"])
    assert {**got, "access_token": ""} == {"access_token": "", "scope": "user:email", "token_type": "bearer"}
    again = await login.exchange(code)
    assert again["error"] == "bad_verification_code"
    assert again["error_description"] == "The code passed is incorrect or expired."
    assert again["error_uri"].startswith("https://docs.github.com/")


async def test_of_many_at_once_one_gets_the_token(login: "Login") -> None:
    code = await login.code()
    got = await asyncio.gather(*(login.exchange(code) for _ in range(20)))
    assert sorted("access_token" in told for told in got) == [False] * 19 + [True]


class Interrupted:
    """A connection before whose n-th statement something else happens."""

    def __init__(self, db: sqlite3.Connection, n: int, happens: Callable[[], object]) -> None:
        self._db, self._left, self._happens = db, n, happens
        self.happened: list[object] = []

    def executescript(self, sql: str) -> None:
        self._db.executescript(sql)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._left == 0:
            self.happened.append(self._happens())
        self._left -= 1
        return self._db.execute(sql, values)


async def test_of_two_hubs_on_one_file_one_gives_the_token(login: "Login") -> None:
    """The other one redeems the same code before each of the statements in turn."""
    async with opened(login.home) as other:
        first = []
        for n in range(6):
            told = {"client_id": CLIENT, "client_secret": SECRET, "code": await login.code()}
            db = Interrupted(login.hub.store.db, n, partial(other.hub.oauth.redeem, told))
            ours = OAuth(cast("sqlite3.Connection", db), login.watch).redeem(told)
            assert [isinstance(out, Granted) for out in (ours, *db.happened)].count(True) == 1
            first.append(isinstance(ours, Granted))
        assert set(first) == {True, False}, "it came too late as well as in time"


async def test_a_code_ends_after_ten_minutes(login: "Login") -> None:
    code, late = await login.code(), await login.code()
    login.watch.turn(599)
    assert "access_token" in await login.exchange(code)
    login.watch.turn(1)
    assert (await login.exchange(late))["error"] == "bad_verification_code"


async def test_only_the_application_itself_redeems_its_code(login: "Login") -> None:
    login.hub.oauth.register(OAuthApp("other", "Other", CALLBACK, hashed("other-secret")))
    code = await login.code()
    for wrong in (
        {"client_secret": "x"},
        {"client_secret": ""},
        {"client_id": "none"},
        {"client_secret": hashed(SECRET)},
    ):
        told = await login.exchange(code, **wrong)
        assert told["error"] == "incorrect_client_credentials"
        assert told["error_description"] == "The client_id and/or client_secret passed are incorrect."
    stolen = await login.exchange(code, client_id="other", client_secret="other-secret")
    assert stolen["error"] == "bad_verification_code"
    assert "access_token" in await login.exchange(code)


async def test_the_code_is_redeemed_for_the_address_it_was_sent_to(login: "Login") -> None:
    where = f"{CALLBACK}/a"
    assert "access_token" in await login.exchange(await login.code(redirect_uri=where), redirect_uri=where)
    assert "access_token" in await login.exchange(await login.code(redirect_uri=where))
    for wrong in (CALLBACK, "http://evil.test/"):
        told = await login.exchange(await login.code(redirect_uri=where), redirect_uri=wrong)
        assert told["error"] == "redirect_uri_mismatch"


@pytest.mark.parametrize("verifier", [None, "", "w" * 43, VERIFIER[:-1], challenge(), "v", "é" * 43])
async def test_a_challenge_wants_its_verifier(login: "Login", verifier: str | None) -> None:
    told = {} if verifier is None else {"code_verifier": verifier}
    code = await login.code(**S256)
    assert (await login.exchange(code, **told))["error"] == "bad_verification_code"
    late = await login.exchange(code, code_verifier=VERIFIER)
    assert late["error"] == "bad_verification_code", "one try a code"
    assert "access_token" in await login.exchange(await login.code(**S256), code_verifier=VERIFIER)


async def test_a_verifier_without_a_challenge_is_refused(login: "Login") -> None:
    """Else whoever takes the challenge out of the request takes PKCE away unseen."""
    told = await login.exchange(await login.code(), code_verifier=VERIFIER)
    assert told["error"] == "bad_verification_code"


@pytest.mark.parametrize(
    "pkce",
    [
        {"code_challenge": challenge(), "code_challenge_method": "plain"},
        {"code_challenge": challenge()},
        {"code_challenge": "short", "code_challenge_method": "S256"},
        {"code_challenge": challenge() + "\n", "code_challenge_method": "S256"},
        {"code_challenge_method": "S256"},
    ],
)
async def test_only_s256_is_taken(login: "Login", pkce: dict[str, str]) -> None:
    told = answer(await login.authorize(login="ada", state="s", **pkce))
    assert (told["error"], told["state"], "code" in told) == ("invalid_request", "s", False)


def test_known_scopes_are_granted_once() -> None:
    assert granted("user user:email,read:org nonsense  repo") == ("read:org", "repo", "user")
    assert granted("admin:org read:org write:org") == ("admin:org",)
    assert granted("") == granted("USER root") == ()


async def test_the_answer_is_a_form_unless_json_is_asked_for(login: "Login") -> None:
    path, body = "/login/oauth/access_token", {"client_id": CLIENT, "client_secret": SECRET}
    plain = await login.client.post(path, data=body | {"code": await login.code(scope="read:org user:email")})
    assert plain.headers["content-type"].startswith("application/x-www-form-urlencoded")
    told = parse_qs(plain.text)
    assert (told["token_type"], told["scope"]) == (["bearer"], ["read:org,user:email"])
    wrong = await login.client.post(path, data=body | {"code": "x"})
    assert (wrong.status_code, parse_qs(wrong.text)["error"]) == (200, ["bad_verification_code"])
    assert wrong.headers["cache-control"] == "no-store"
    sent = await login.client.post(path, json=body | {"code": await login.code()}, headers=JSON)
    assert sent.json()["scope"] == ""


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b'{"client_id": 5}', b'{"client_id": "\\ud800", "code": null}']
)
async def test_senseless_bodies_are_no_credentials(login: "Login", body: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded"):
        headers = {**JSON, "Content-Type": kind}
        got = await login.client.post("/login/oauth/access_token", content=body, headers=headers)
        assert (got.status_code, got.json()["error"]) == (200, "incorrect_client_credentials")
    large = await login.client.post("/login/oauth/access_token", content=b"x" * 70_000)
    assert large.status_code == 413


async def test_an_eleventh_token_ends_the_first(login: "Login") -> None:
    tokens = [await login.token() for _ in range(11)]
    other = await login.token(scope="gist")
    codes = [(await login.get("/user", token)).status_code for token in [*tokens, other]]
    assert codes == [401, *[200] * 11]


# what is kept


async def test_secrets_are_kept_as_digests(login: "Login", capsys: pytest.CaptureFixture[str]) -> None:
    code = await login.code(**S256)
    token = (await login.exchange(code, code_verifier=VERIFIER))["access_token"]
    waiting = await login.code()
    device = await login.client.post("/login/device/code", data={"client_id": CLIENT}, headers=JSON)
    kept = b"".join(file.read_bytes() for file in login.home.rglob("*") if file.is_file())
    assert hashed(token).encode() in kept
    printed = capsys.readouterr().out
    assert "oauth.granted" in printed
    for secret in (SECRET, code, waiting, token, token[4:], device.json()["device_code"]):
        assert secret.encode() not in kept
        assert secret not in printed


async def test_a_hub_that_starts_again_knows_its_tokens_and_a_new_secret(login: "Login") -> None:
    token, code = await login.token(), await login.code()
    login.hub.oauth.register(OAuthApp(CLIENT, "Stackly", "http://127.0.0.1:9/", hashed("new")))
    async with opened(login.home) as again:  # registers what it is told, over what was
        assert (await again.get("/user", token)).json()["login"] == "ada"
        assert "access_token" in await again.exchange(code)


async def test_a_hub_without_an_application_lets_nobody_in(login: "Login") -> None:
    login.hub.store.db.execute("DELETE FROM oauth_apps")
    assert (await login.authorize(login="ada")).status_code == 404
    assert (await login.exchange("x"))["error"] == "incorrect_client_credentials"
