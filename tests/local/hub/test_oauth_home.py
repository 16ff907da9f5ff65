"""The hub's one application comes from its home's settings: for a home made now, and for one of an earlier release."""

import json
import subprocess
import time
from pathlib import Path

import httpx

from stackly import clock
from stackly.local import components
from stackly.local.home import Home, configured
from stackly.local.hub.oauth import OAuthApp, hashed, registered
from stackly.local.hub.oauth_rules import may_redirect
from stackly.local.hub.store import Store
from tests.local.hub.oauth_parts import JSON, answer


def test_the_homes_application_is_known_to_its_hub(tmp_path: Path) -> None:
    """The real process, as the supervisor starts it, over what a hub of an earlier release left."""
    home = Home(tmp_path)
    config = configured(home)
    old = Store(tmp_path / "hub")
    old.user_id("ada")
    old.close()
    component = components._hub(home, config)
    component.cwd.mkdir(parents=True)
    client, secret = config.settings["github_client_id"], config.settings["github_client_secret"]
    output = tmp_path / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(component.argv, cwd=component.cwd, stdout=out, stderr=out)
    try:
        started = clock.monotonic()
        while not component.ready(process.pid):
            assert clock.monotonic() - started < 60, output.read_text()
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://{component.address}") as http:
            signed = {"Authorization": f"Bearer {config.secrets['hub_person']}"}
            ask = {"client_id": client, "login": "ada", "redirect_uri": f"{config.settings['api_url']}/any/path"}
            code = answer(http.get("/login/oauth/authorize", params=ask, headers=signed))["code"]
            body = {"client_id": client, "client_secret": secret, "code": code}
            token = http.post("/login/oauth/access_token", data=body, headers=JSON).json()["access_token"]
            assert http.get("/user", headers={"Authorization": f"Bearer {token}"}).json()["login"] == "ada"
    finally:
        process.terminate()
        process.wait(timeout=20)
    assert secret not in " ".join(component.argv)
    kept = output.read_bytes() + b"".join(file.read_bytes() for file in (tmp_path / "hub").rglob("*") if file.is_file())
    assert hashed(token).encode() in kept
    assert not [hidden for hidden in (secret, token, code) if hidden.encode() in kept]


def test_a_home_names_its_application(tmp_path: Path) -> None:
    made = configured(Home(tmp_path / "home"))
    fresh = registered(tmp_path / "home" / "config.json")
    assert fresh is not None
    assert fresh.has_secret(made.secrets["oauth"])
    settings = {"github_client_id": "c", "github_client_secret": "s", "api_url": "http://127.0.0.1:5000"}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"settings": settings}))
    app = registered(config)
    assert app == OAuthApp("c", "Stackly", "http://127.0.0.1:5000/", hashed("s"))
    assert may_redirect(app.callback, "http://127.0.0.1:5000/any/path")
    for missing in settings:
        config.write_text(json.dumps({"settings": {k: v for k, v in settings.items() if k != missing}}))
        assert registered(config) is None
