"""Connections that no agent makes: what a stranger, a broken line or a port scanner does to a TLS endpoint."""

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from agent.gateway import new_key
from stackly.agents.authority import Authority

_AT_ONCE = 16
_PATIENCE_S = 20.0
_LINGER_S = 0.2


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _hello() -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        _context().wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def _drained(line: socket.socket) -> None:
    """Read until the other side closes, or waits for more."""
    line.settimeout(_LINGER_S)
    while line.recv(65536):
        pass


def strangers(directory: Path) -> list[Callable[[socket.socket], None]]:
    """No certificate, a foreign one, half a hello, garbage after the handshake, garbage at once, an abort."""
    private, public = new_key()
    other = Authority.open(directory / "other")
    file = directory / "foreign.pem"
    file.write_bytes(private + other.issue(public, "a", "b", timedelta(hours=1)).pem)
    plain, foreign = _context(), _context()
    foreign.load_cert_chain(file)
    hello = _hello()

    def without(line: socket.socket) -> None:
        _drained(plain.wrap_socket(line))

    def with_foreign(line: socket.socket) -> None:
        _drained(foreign.wrap_socket(line))

    def half(line: socket.socket) -> None:
        line.sendall(hello[: len(hello) // 2])

    def garbage_after(line: socket.socket) -> None:
        secured = plain.wrap_socket(line)
        with socket.socket(fileno=os.dup(secured.fileno())) as below:
            below.sendall(os.urandom(200))
            _drained(below)

    def garbage(line: socket.socket) -> None:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(100))
        _drained(line)

    def aborted(line: socket.socket) -> None:
        line.sendall(hello)
        line.recv(100)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return [without, with_foreign, half, garbage_after, garbage, aborted]


def shake(address: str, kinds: list[Callable[[socket.socket], None]], count: int) -> int:
    """`count` connections, some at once, of each kind in turn. Shape: how many were made."""
    host, port = address.rsplit(":", 1)

    def one(kind: Callable[[socket.socket], None]) -> bool:
        try:
            line = socket.create_connection((host, int(port)), _PATIENCE_S)
        except OSError:
            return False
        with contextlib.suppress(OSError), line:  # the refusal is the endpoint's to word
            kind(line)
        return True

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return sum(threads.map(one, islice(cycle(kinds), count)))
