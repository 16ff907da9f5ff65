"""Objects, and what goes wrong with them."""

import asyncio
import io

import pytest

from stackly.settings import S3
from stackly.storage import ConditionsIgnored, ObjectNotFound, StorageUnavailable, Store


@pytest.fixture
def store(s3: S3) -> Store:
    return Store(s3.endpoint, s3.bucket, s3.access_key, s3.secret_key.get_secret_value())


async def test_what_is_put_is_got(store: Store) -> None:
    content = bytes(range(256)) * 9000
    assert await store.put("a/b", content, "text/plain")
    assert await store.get("a/b") == content
    chunks = [c async for c in store.stream("a/b", 1_000_000)]
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) <= 1_000_000
    await store.put_file("a/c", io.BytesIO(content))
    assert await store.get("a/c") == content
    await store.delete("a/b")
    await store.delete("a/b")
    assert not await store.exists("a/b")
    with pytest.raises(ObjectNotFound):
        await store.get("a/b")
    with pytest.raises(ObjectNotFound):
        await anext(store.stream("a/b"))


async def test_only_one_of_many_makes_an_object(store: Store) -> None:
    made = await asyncio.gather(*(store.put("only/one", str(n).encode(), only_new=True) for n in range(8)))
    assert sum(made) == 1
    assert await store.get("only/one") == str(made.index(True)).encode()


async def test_a_bucket_is_made_once(s3: S3) -> None:
    fresh = Store(s3.endpoint, "another-bucket", "test", "testtest")
    await fresh.ensure_bucket()
    await fresh.ensure_bucket()
    await fresh.probe()
    await fresh.probe()


async def test_a_server_without_conditions_is_refused(store: Store) -> None:
    class Careless(Store):
        async def put(
            self, key: str, data: bytes, media_type: str = "application/octet-stream", *, only_new: bool = False
        ) -> bool:
            del only_new
            return await super().put(key, data, media_type)

    careless = Careless.__new__(Careless)
    careless.__dict__ |= store.__dict__
    with pytest.raises(ConditionsIgnored):
        await careless.probe()


async def test_nobody_there_is_unavailable() -> None:
    away = Store("http://127.0.0.1:1", "b", "k", "s", timeout_s=0.5)
    with pytest.raises(StorageUnavailable):
        await away.get("x")
