"""The pages people see when an application asks for them. They work without scripts; all that was told is escaped."""

import base64
import hashlib
import html
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from stackly.local.hub.oauth import Asked

_STYLE = """:root{color-scheme:light dark;--line:#8c959f;--accent:#1a7f37;--on-accent:#fff}
@media (prefers-color-scheme:dark){:root{--line:#6e7681;--accent:#56d364;--on-accent:#0d1117}}
body{font:1rem/1.5 system-ui,sans-serif;margin:3rem auto;max-width:28rem;padding:0 1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem}fieldset{border:1px solid var(--line);border-radius:.4rem;margin:1rem 0;padding:.5rem 1rem}
label{display:block;padding:.3rem 0}input[type=text],input[type=password]{font:inherit;padding:.4rem;width:12rem}
button{font:inherit;padding:.5rem 1.2rem;border:1px solid var(--line);border-radius:.4rem;margin-right:.5rem}
button.main{background:var(--accent);border-color:var(--accent);color:var(--on-accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_KEY = (
    '<label for="key">The hub\'s key, from the file <code>hub-token</code> of the home</label>'
    '<input type="password" id="key" name="key" autocomplete="off">'
)
_BUTTONS = (
    '<p><button class="main" name="decision" value="authorize">Authorize</button>'
    '<button name="decision" value="cancel">Cancel</button></p>'
)


def consent(
    asked: Asked, told: dict[str, str], logins: Sequence[str], chosen: str, problem: str | None = None
) -> HTMLResponse:
    """Shape: `told` is the request as it came, to be sent again with the decision."""
    hidden = "".join(f'<input type="hidden" name="{_e(name)}" value="{_e(value)}">' for name, value in told.items())
    scopes = "".join(f"<li><code>{_e(scope)}</code></li>" for scope in asked.scopes)
    wants = f"<p>It asks for:</p><ul>{scopes}</ul>" if scopes else "<p>It asks who you are, and for nothing more.</p>"
    body = (
        f"<h1>Authorize {_e(asked.app.name)}</h1>{_alert(problem)}{wants}"
        f"<p>You then go to <strong>{_e(_origin(asked.redirect_uri))}</strong>.</p>"
        f'<form method="post" action="/login/oauth/authorize">{hidden}{_people(logins, chosen)}{_KEY}{_BUTTONS}'
        "</form>"
    )
    return _page("Authorize", body, 422 if problem else 200, follows=asked.redirect_uri)


def device(logins: Sequence[str], chosen: str, code: str, problem: str | None = None) -> HTMLResponse:
    body = (
        f'<h1>Authorize a device</h1>{_alert(problem)}<form method="post" action="/login/device">'
        '<label for="code">The code that your device shows</label>'
        f'<input type="text" id="code" name="user_code" value="{_e(code)}" autocomplete="off"'
        f' autocapitalize="characters" spellcheck="false" required>{_people(logins, chosen)}{_KEY}{_BUTTONS}</form>'
    )
    return _page("Authorize a device", body, 422 if problem else 200)


def notice(title: str, text: str, status: int = 200) -> HTMLResponse:
    return _page(title, f"<h1>{_e(title)}</h1><p>{_e(text)}</p>", status)


def _alert(problem: str | None) -> str:
    return f'<p role="alert"><strong>{_e(problem)}</strong></p>' if problem else ""


def _people(logins: Sequence[str], chosen: str) -> str:
    rows = "".join(
        f'<label><input type="radio" name="login" value="{_e(login)}"{" checked" if login == chosen else ""}>'
        f" {_e(login)}</label>"
        for login in logins
    )
    return f"<fieldset><legend>Continue as</legend>{rows}</fieldset>"


def _page(title: str, body: str, status: int, *, follows: str | None = None) -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)}</title><style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )
    # Browsers hold a form's redirect against form-action as well, so the answer's address is named.
    forms = f"'self' {_source(follows)}" if follows else "'self'"
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {forms}; frame-ancestors 'none'"
    headers = {
        "Content-Security-Policy": f"{policy}; base-uri 'none'",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "same-origin",  # not no-referrer: the form's Origin would become null, which is refused
        "Cache-Control": "no-store",
    }
    return HTMLResponse(text, status, headers)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _source(address: str) -> str:
    """Shape: a source of a content security policy, which has no word for an IPv6 address."""
    parts = urlsplit(address)
    return f"{parts.scheme}:" if "[" in parts.netloc else _origin(address)


def _e(text: str) -> str:
    return html.escape(text, quote=True)
