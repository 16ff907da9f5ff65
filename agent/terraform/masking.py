"""Secrets of every type, in each form that Terraform may print them in."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from stackly.log import MASK, redact_text

# Shorter texts would mask half of every line and protect nothing.
_LEAST = 4
# From here on a text is masked wherever it stands; below only as a word of its own.
_ANYWHERE = 6
_ESCAPED = 3


@dataclass(slots=True)
class Masker:
    """Replaces every known secret, then what looks like one.

    Truth values are masked inside the printed form of what holds them only: alone they protect nothing.
    """

    secrets: set[str] = field(default_factory=set)

    def learn(self, *values: Any) -> None:
        """Take every part of JSON values as a secret. Shape: numbers may be Decimals."""
        found = {form.strip() for value in values for form in _forms(value)}
        self.secrets |= {form for form in found if len(form) >= _LEAST}

    def __call__(self, text: str) -> str:
        lower = text.lower()
        if here := [secret for secret in self.secrets if secret.lower() in lower]:
            text = _pattern(here).sub(MASK, text)
        return redact_text(text)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """The longest first, so that no part of a secret is left of it; letters of either case, as `upper` makes them."""
    longest = sorted(secrets, key=len, reverse=True)
    anywhere = [re.escape(s) for s in longest if len(s) >= _ANYWHERE]
    alone = [rf"(?<!\w)(?<!\d\.){re.escape(s)}(?!\w|\.\d)" for s in longest if len(s) < _ANYWHERE]
    return re.compile("|".join(anywhere + alone), re.IGNORECASE)


def _forms(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _texts(value)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int | float | Decimal):
        yield from _numbers(value)
    elif isinstance(value, dict | list):
        yield from _whole(value)
        for each in value.values() if isinstance(value, dict) else value:
            yield from _forms(each)


def _whole(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    for separators in ((",", ":"), (", ", ": ")):
        yield json.dumps(value, separators=separators, ensure_ascii=False, default=str)


def _texts(value: str) -> Iterator[str]:
    """As it is, line by line, escaped as often as a command that holds JSON is when it is printed, and in base64."""
    if len(value) < _LEAST:
        return
    found = {value, *value.split("\n"), *value.splitlines()}  # whatever shows it may break lines at any of these
    yield from found
    yield from (text.replace("${", "$${").replace("%{", "%%{") for text in found)
    for _ in range(_ESCAPED):
        found = {form for text in found for form in _escaped(text)}
        yield from found
    yield base64.b64encode(value.encode("utf-8", "replace")).decode()


def _escaped(text: str) -> Iterator[str]:
    """As JSON and Go write a text between quotes. Terraform's JSON escapes <, > and & too."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    yield plain
    yield json.dumps(text)[1:-1]
    yield plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _numbers(value: float | Decimal) -> Iterator[str]:
    """Terraform prints a number in full, JSON as it likes."""
    number = Decimal(str(value))
    yield str(value)
    if number.is_finite() and abs(number.adjusted()) < 400:
        plain = format(number, "f")
        yield plain
        yield plain.rstrip("0").rstrip(".") if "." in plain else plain
        yield format(number.normalize(), "E")
        yield repr(float(number))
