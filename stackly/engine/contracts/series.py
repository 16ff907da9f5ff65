"""The stored series of a sample: one form, for the agent that writes it and the API that reads it. Pure."""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

Point = dict[str, Any]

NAME = "series.json.gz"
FIELDS = ("second", "tps", "latency_ms", "p95_ms", "errors")
# A day of seconds is 9 MB; what a machine under test sends is unpacked no further.
MAX_BYTES = 64 * 1024 * 1024
_GZIP = b"\x1f\x8b"


def point(given: Mapping[str, Any]) -> Point:
    """Of a second, live or stored. A second without transactions has no latency, whatever a load generator prints."""
    shown = {name: given.get(name) for name in FIELDS}
    if not shown["tps"]:
        shown |= {"latency_ms": None, "p95_ms": None}
    return shown


def pack(sample: int, points: Iterable[Mapping[str, Any]]) -> bytes:
    body = {"sample": sample, "points": [point(p) for p in points]}
    return gzip.compress(json.dumps(body).encode(), mtime=0)


def unpack(stored: bytes) -> list[Point]:
    """Raises: ValueError, with what is wrong, when it is none that `pack` wrote; plain JSON is read as well."""
    try:
        body = json.loads(_inflated(stored) if stored.startswith(_GZIP) else stored)
        return [point(p) for p in body["points"]]
    except (zlib.error, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as e:
        raise ValueError(f"the stored series is damaged: {type(e).__name__}") from e
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError("the stored series has no list of points") from e


def _inflated(stored: bytes) -> bytes:
    inflating = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    body = inflating.decompress(stored, MAX_BYTES)
    if not inflating.eof:
        raise ValueError(f"the stored series is cut off, or larger than {MAX_BYTES // 1024**2} MB")
    return body
