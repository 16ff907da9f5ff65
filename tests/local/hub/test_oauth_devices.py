"""The device flow: a code typed elsewhere, and a device that asks until it knows."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.local.hub.oauth_parts import CLIENT, JSON, KEY

if TYPE_CHECKING:
    from tests.local.hub.oauth_parts import Login

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


async def begin(login: "Login", **told: str) -> dict[str, Any]:
    got = await login.client.post("/login/device/code", data={"client_id": CLIENT, **told}, headers=JSON)
    assert got.status_code == 200
    said: dict[str, Any] = got.json()
    return said


async def poll(login: "Login", code: str, *, after: float = 5, client: str = CLIENT) -> dict[str, Any]:
    login.watch.turn(after)
    body = {"client_id": client, "device_code": code, "grant_type": GRANT}
    got = await login.client.post("/login/oauth/access_token", data=body, headers=JSON)
    assert got.status_code == 200
    said: dict[str, Any] = got.json()
    return said


async def enter(login: "Login", code: str, decision: str = "authorize", name: str = "developer") -> int:
    body = {"user_code": code, "login": name, "decision": decision}
    return (await login.client.post("/login/device", data={**body, "key": KEY})).status_code


async def test_a_device_gets_one_token_once_a_person_typed_its_code(login: "Login") -> None:
    told = await begin(login, scope="read:org nonsense")
    assert told["verification_uri"] == "http://hub.test/login/device"
    assert (told["expires_in"], told["interval"], len(told["user_code"])) == (900, 5, 9)
    assert (await poll(login, told["device_code"]))["error"] == "authorization_pending"
    assert (await login.client.get("/login/device")).status_code == 200
    assert await enter(login, told["user_code"].lower().replace("-", " ")) == 200
    got = await poll(login, told["device_code"])
    assert (got["scope"], got["token_type"]) == ("read:org", "bearer")
    assert (await login.get("/user", got["access_token"])).json()["login"] == "developer"
    assert (await poll(login, told["device_code"]))["error"] == "incorrect_device_code"
    assert await enter(login, told["user_code"]) == 422


async def test_a_device_that_hurries_waits_longer(login: "Login") -> None:
    code = (await begin(login))["device_code"]
    assert (await poll(login, code))["error"] == "authorization_pending"
    hurried = await poll(login, code, after=4)
    assert (hurried["error"], hurried["interval"]) == ("slow_down", 10)
    assert (await poll(login, code, after=9))["interval"] == 15
    assert (await poll(login, code, after=15))["error"] == "authorization_pending"


async def test_a_device_is_refused_or_too_late(login: "Login") -> None:
    refused, late = await begin(login), await begin(login)
    assert await enter(login, refused["user_code"], "cancel") == 200
    assert (await poll(login, refused["device_code"]))["error"] == "access_denied"
    assert await enter(login, refused["user_code"]) == 422
    login.watch.turn(900)
    assert await enter(login, late["user_code"]) == 422
    assert (await poll(login, late["device_code"]))["error"] == "expired_token"


@pytest.mark.parametrize("code", ["", "XXXX-XXXX", "%", "é"])
async def test_codes_are_not_guessed(login: "Login", code: str) -> None:
    told = await begin(login)
    assert await enter(login, code) == 422
    assert await enter(login, told["user_code"], name="nobody") == 422
    assert (await poll(login, code))["error"] == "incorrect_device_code"
    assert (await poll(login, told["device_code"], client="other"))["error"] == "incorrect_client_credentials"
    wrong = await login.client.post("/login/device/code", data={"client_id": "other"}, headers=JSON)
    assert wrong.json()["error"] == "incorrect_client_credentials"
