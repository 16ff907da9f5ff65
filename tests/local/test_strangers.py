"""A page of another origin, and another user's program, at what third parties serve in a home."""

import asyncio
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from stackly.local import platform
from stackly.local.home import Home, configured
from stackly.storage import Store
from tests.local.listening import documented, listening

_SERVICES = [sys.executable, str(Path(__file__).parent / "real_parts.py")]
_PARTS = ("s3_master", "s3_volume", "s3_filer")
_EVIL = {"Origin": "http://evil.test"}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("strangers") / "home")
    platform.up(made.path, supervisor=_SERVICES)
    yield made
    platform.down(made.path, wipe=True)


@pytest.fixture
async def bucket(home: Home) -> Store:
    config = configured(home)
    keys = config.secrets
    store = Store(f"http://{config.address('s3')}", "stackly", keys["s3_access"], keys["s3_secret"])
    await store.ensure_bucket()
    await store.put("state/one", b"precious")
    return store


ASKED = [
    ("GET", "/"),
    ("GET", "/buckets/stackly/?pretty=y"),
    ("GET", "/buckets/stackly/state/one"),
    ("PUT", "/buckets/stackly/state/one"),
    ("POST", "/buckets/stackly/state/one"),
    ("DELETE", "/buckets/stackly/state/one"),
    ("DELETE", "/buckets/stackly?recursive=true"),
    ("OPTIONS", "/buckets/stackly/state/one"),
    ("GET", "/stackly"),
    ("PUT", "/stackly/state/one"),
    ("GET", "/dir/assign"),
    ("GET", "/dir/status"),
    ("GET", "/vol/grow?count=1"),
    ("GET", "/col/delete?collection=stackly"),
]


@pytest.mark.parametrize("part", ["s3", *_PARTS])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nobody_lists_or_writes_the_bucket(home: Home, bucket: Store, part: str, scheme: str) -> None:
    anything = ssl.create_default_context()
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    async with httpx.AsyncClient(base_url=f"{scheme}://{configured(home).address(part)}", verify=anything) as http:
        for origin in (_EVIL, {}):
            for verb, path in ASKED:
                body = b"evil" if verb in {"PUT", "POST"} else None
                try:
                    got = await http.request(verb, path, content=body, headers=origin)
                except (httpx.TransportError, ssl.SSLError):
                    continue
                assert got.status_code >= 400 or verb == "OPTIONS", (part, verb, path, got.status_code)
                if part != "s3" or verb == "OPTIONS":  # S3's own errors alone go to everybody
                    assert got.headers.get("access-control-allow-origin") is None, (part, verb, path)
    assert await bucket.get("state/one") == b"precious"


@pytest.mark.parametrize("part", [*_PARTS, "s3"])
async def test_the_parts_of_s3_take_no_call_without_a_certificate(home: Home, bucket: Store, part: str) -> None:
    async with grpc.aio.insecure_channel(configured(home).address(f"{part}_grpc")) as channel:
        for method in ("/filer_pb.SeaweedFiler/GetFilerConfiguration", "/master_pb.Seaweed/Statistics"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(method, bytes, bytes)(b"", timeout=5)
            assert refused.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert await bucket.get("state/one") == b"precious"


async def test_a_page_starts_no_workflow_by_temporals_http(home: Home) -> None:
    path = "/api/v1/namespaces/default/workflows/evil"
    body = '{"workflowType":{"name":"Run"},"taskQueue":{"name":"control"}}'
    async with httpx.AsyncClient(base_url=f"http://{configured(home).address('temporal_http')}") as http:
        for headers in ({**_EVIL, "Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
            got = await http.post(path, content=body, headers=headers)
            assert got.status_code == 403, got.text
        assert (await http.get("/api/v1/namespaces/default/workflows")).status_code == 403


async def test_every_listener_of_the_third_parties_stands_in_the_documents(home: Home) -> None:
    found = await asyncio.to_thread(listening, home)
    assert found >= {"postgres", "temporal", "temporal_http", "temporal_metrics", "s3", *_PARTS}
    assert found - documented() == set()
