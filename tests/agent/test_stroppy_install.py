"""Stroppy's archive: pinned, retried, atomic, refused when it is not the one."""

import asyncio
import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.context import Cancelled
from agent.generators import install, manifest
from agent.generators.stroppy import Stroppy
from stackly.errors import Invalid, NotFound, Unavailable
from tests.agent.edge_parts import boxed

PROGRAM = b'#!/bin/sh\nprintf \'{"stroppy": "v5.7.3", "k6": "v1.8.0"}\'\n'


@functools.cache
def archive(content: bytes = PROGRAM) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, data in (("../evil", b"x"), ("stroppy", content)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Site:
    """A release page on loopback. `answers` are used up first; the last one stays."""

    def __init__(self) -> None:
        self.answers = [(200, archive())]
        self.asked = 0
        self.hold = threading.Event()
        self.hold.set()
        handler = functools.partial(Handler, self)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args: Any) -> None:
        self.site = site
        super().__init__(*args)

    def do_GET(self) -> None:
        self.site.asked += 1
        status, body = self.site.answers.pop(0) if len(self.site.answers) > 1 else self.site.answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        self.site.hold.wait(20)
        self.wfile.write(body[half:])

    def log_message(self, *_: Any) -> None:
        """A test is quiet."""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.hold.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def source(tmp_path: Path, site: Site) -> install.Source:
    pins = tmp_path / "pins.json"
    url = f"{site.url}/v5.7.3/stroppy_{manifest.architecture()}.tar.gz"
    pinned = {"5.7.3": {manifest.architecture(): {"url": url, "sha256": hashlib.sha256(archive()).hexdigest()}}}
    pins.write_text(json.dumps({"stroppy": pinned}))
    return install.Source(tmp_path / "cache", manifest=pins, backoff_s=0.01)


async def stroppy(source: install.Source, version: str) -> Stroppy:
    return await install.stroppy(source, version, asyncio.Event(), boxed(source.cache.parent))


def leftovers(source: install.Source) -> list[Path]:
    return [p for p in source.cache.rglob("*") if p.is_file()] if source.cache.exists() else []


async def test_a_pinned_archive_is_installed_once(site: Site, source: install.Source) -> None:
    chosen = await stroppy(source, "v5.7.3")
    found = await chosen.install()
    assert chosen.adapter == "stroppy-k6"
    assert found.version == "5.7.3"
    assert found.path.name == "stroppy"
    assert found.path.parent.name.startswith("5.7.3")
    assert leftovers(source) == [found.path], "nothing else of the archive reaches the disk"
    await stroppy(source, "5.7.3")
    assert site.asked == 1


async def test_a_tampered_archive_is_refused_and_leaves_nothing(site: Site, source: install.Source) -> None:
    site.answers = [(200, archive(PROGRAM + b"# evil\n"))]
    with pytest.raises(Invalid, match="not the pinned one"):
        await stroppy(source, "5.7.3")
    assert leftovers(source) == []


async def test_a_failing_download_is_tried_again(site: Site, source: install.Source) -> None:
    site.answers = [(503, b"busy"), (503, b"busy"), (200, archive())]
    assert (await install.ensure(source, "5.7.3", asyncio.Event())).exists()
    assert site.asked == 3


async def test_a_download_that_never_works_says_so(site: Site, source: install.Source) -> None:
    site.answers = [(404, b"no")]
    with pytest.raises(Unavailable, match="4 attempts"):
        await install.ensure(source, "5.7.3", asyncio.Event())
    assert leftovers(source) == []


@pytest.mark.parametrize("how", ["event", "task"])
async def test_a_cancel_leaves_nothing(site: Site, source: install.Source, how: str) -> None:
    site.hold.clear()
    cancelled = asyncio.Event()
    task = asyncio.create_task(install.ensure(source, "5.7.3", cancelled))
    while not site.asked:  # noqa: ASYNC110 - a thread counts
        await asyncio.sleep(0.02)
    if how == "event":
        cancelled.set()
        site.hold.set()
    else:
        task.cancel()
    with pytest.raises((Cancelled, asyncio.CancelledError)):
        await task
    assert leftovers(source) == []


async def test_an_unknown_version_is_refused_with_the_command_that_mends_it(source: install.Source) -> None:
    with pytest.raises(Invalid, match=r"python -m agent\.generators\.manifest pin 9\.9\.9") as refused:
        await install.ensure(source, "9.9.9", asyncio.Event())
    assert "STACKLY_STROPPY" in refused.value.detail


@pytest.mark.parametrize("version", ["", "../../x", "latest"])
async def test_a_version_that_is_none_is_refused(source: install.Source, version: str) -> None:
    with pytest.raises(Invalid):
        await install.ensure(source, version, asyncio.Event())


async def test_pin_writes_what_an_install_then_accepts(site: Site, tmp_path: Path) -> None:
    pins = tmp_path / "own" / "pins.json"
    made = await asyncio.to_thread(manifest.pin, "5.7.3", pins, site.url)
    assert made.sha256 == hashlib.sha256(archive()).hexdigest()
    source = install.Source(tmp_path / "cache", manifest=pins)
    assert (await install.ensure(source, "5.7.3", asyncio.Event())).exists()


async def test_a_program_that_says_another_version_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "stroppy"
    own.write_bytes(PROGRAM.replace(b"5.7.3", b"5.6.0"))
    own.chmod(0o755)
    with pytest.raises(Invalid, match=r"5\.6\.0"):
        await stroppy(install.Source(tmp_path / "c", own), "5.7.3")


async def test_a_program_that_is_no_stroppy_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "stroppy"
    own.write_text("#!/bin/sh\necho k6 v1.8.0\n")
    own.chmod(0o755)
    with pytest.raises(Invalid, match="version --json"):
        await stroppy(install.Source(tmp_path / "c", own), "")
    with pytest.raises(NotFound, match="STACKLY_STROPPY"):
        await stroppy(install.Source(tmp_path / "c", tmp_path / "absent"), "")
