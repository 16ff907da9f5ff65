"""Structured logs, one event a line; known secret fields never reach it."""

import contextlib
import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO, cast

import structlog

SECRET_FIELD = re.compile(r"(?i)(pass(word|wd)?|secret|token|authorization|cookie|private_key|user_data|dsn)$")
# A password inside a URL, a bearer or basic header, one of our own tokens, a PEM private key, cut off or whole.
# Others choose the text: no part may look further than it takes, or a megabyte of their making costs minutes.
SECRET_TEXT = re.compile(
    r"(?P<url>://[^\s:/@]+:)[^\s@/]+(?=@)"
    r"|(?P<auth>(?i:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<own>\bstk_[a-z]+_)[A-Za-z0-9_-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
MASK = "[redacted]"


def redact_text(text: str) -> str:
    """Mask what looks like a secret in free text: URL passwords, auth headers, our tokens, private keys."""
    return SECRET_TEXT.sub(
        lambda m: (m.group("url") or m.group("auth") or m.group("own") or "") + MASK,
        text,
    )


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {k: MASK if SECRET_FIELD.search(str(k)) else _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(v) for v in value]
    return value


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Structlog processor: secret-named fields and secret-looking text are masked."""
    return cast("MutableMapping[str, Any]", _redacted(dict(event)))


class Steady:
    """A stream for logs: a full disk costs lines, and never the process that wrote them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


Foreseen = Callable[[BaseException], str | None]


class _OneLine(logging.Filter):
    """What libraries log of a failure that is foreseen is one line with its reason; any other keeps its trace."""

    def __init__(self, foreseen: Foreseen) -> None:
        super().__init__()
        self._foreseen = foreseen

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        reason = self._foreseen(error) if error is not None else None
        if reason is not None:
            record.msg, record.args = f"{record.getMessage()}: {' '.join(reason.split())}", ()
            record.exc_info = record.exc_text = None
        return True


def configure(
    component: str,
    *,
    level: str = "INFO",
    json: bool | None = None,
    foreseen: Foreseen = lambda _: None,
) -> None:
    """Set up logging for one process, to stderr. JSON unless stderr is a terminal.

    `foreseen` gives the reason of a failure that somebody expected, and None for any other.
    """
    as_json = json if json is not None else not sys.stderr.isatty()
    steady = cast("TextIO", Steady(sys.stderr))
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(steady),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(component=component)
    handler = logging.StreamHandler(steady)
    handler.addFilter(_OneLine(foreseen))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-1], structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, renderer],
        )
    )
    logging.basicConfig(level=max(logging.getLevelName(level), logging.WARNING), handlers=[handler], force=True)


def get(name: str) -> Any:
    """A bound logger; names follow the room."""
    return structlog.get_logger(room=name)
