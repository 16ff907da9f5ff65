"""Objects in S3: boto3 in threads, errors as ours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import IO, TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from stackly.errors import Faulty, NotFound, Unavailable

if TYPE_CHECKING:  # stubs only, no package of that name is installed in production
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
CHUNK_BYTES = 1024 * 1024
_MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound"})
_TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})


class ObjectNotFound(NotFound):
    title = "Storage holds no such object."


class StorageUnavailable(Unavailable):
    title = "Object storage is not reachable; it is retried."


class ConditionsIgnored(Faulty):
    title = "The object store ignores conditional writes; use one that honours If-None-Match."


class Store:
    """One bucket. Shape: keys are paths without a leading slash. Raises everywhere: StorageUnavailable."""

    def __init__(
        self,
        endpoint: str | None,
        bucket: str,
        key: str,
        secret: str,
        *,
        region: str = "us-east-1",
        timeout_s: float = 10,
    ) -> None:
        self.bucket = bucket
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name=region,
            config=Config(
                connect_timeout=timeout_s,
                read_timeout=max(timeout_s, 30),
                max_pool_connections=32,
                retries={"mode": "standard", "max_attempts": 3},
                # Path style works without DNS of its own; checksums only where the server asks, older ones refuse them.
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    async def _call(self, what: str, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except ClientError as e:
            code = str(e.response.get("Error", {}).get("Code", ""))
            if code in _MISSING:
                raise ObjectNotFound(f"Storage holds no {what}.", key=what) from e
            raise StorageUnavailable(f"Object storage answered {code or 'with an error'} for {what}.") from e
        except (BotoCoreError, OSError) as e:
            raise StorageUnavailable(f"Object storage is not reachable for {what}: {type(e).__name__}.") from e

    async def put(
        self, key: str, data: bytes, media_type: str = "application/octet-stream", *, only_new: bool = False
    ) -> bool:
        """Write an object. With `only_new` (If-None-Match) False says that one was there, and it is kept."""

        def work() -> bool:
            try:
                if only_new:
                    self._client.put_object(
                        Bucket=self.bucket, Key=key, Body=data, ContentType=media_type, IfNoneMatch="*"
                    )
                else:
                    self._client.put_object(Bucket=self.bucket, Key=key, Body=data, ContentType=media_type)
            except ClientError as e:
                if only_new and str(e.response.get("Error", {}).get("Code", "")) in _TAKEN:
                    return False
                raise
            return True

        return await self._call(key, work)

    async def put_file(self, key: str, file: IO[bytes], media_type: str = "application/octet-stream") -> None:
        """Write an object from an open file, in parts when it is large."""
        await self._call(
            key,
            lambda: self._client.upload_fileobj(file, self.bucket, key, ExtraArgs={"ContentType": media_type}),
        )

    async def get(self, key: str) -> bytes:
        """Raises: ObjectNotFound."""

        def work() -> bytes:  # the request itself belongs into the thread as well
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

        return await self._call(key, work)

    async def stream(self, key: str, chunk: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """Raises: ObjectNotFound, before the first chunk."""
        body = (await self._call(key, lambda: self._client.get_object(Bucket=self.bucket, Key=key)))["Body"]
        try:
            while data := await self._call(key, lambda: body.read(chunk)):
                yield data
        finally:
            body.close()

    async def exists(self, key: str) -> bool:
        try:
            await self._call(key, lambda: self._client.head_object(Bucket=self.bucket, Key=key))
        except ObjectNotFound:
            return False
        return True

    async def delete(self, key: str) -> None:
        """Deleting what is not there is fine."""
        await self._call(key, lambda: self._client.delete_object(Bucket=self.bucket, Key=key))

    async def ensure_bucket(self) -> None:
        try:
            await self._call(self.bucket, lambda: self._client.head_bucket(Bucket=self.bucket))
        except ObjectNotFound:
            await self._call(self.bucket, self._create)

    def _create(self) -> None:
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except ClientError as e:  # another process was first
            if str(e.response.get("Error", {}).get("Code", "")) not in {
                "BucketAlreadyOwnedByYou",
                "BucketAlreadyExists",
            }:
                raise

    async def probe(self) -> None:
        """Tell whether the store is there and honours conditional writes. Raises: ConditionsIgnored."""
        await self.put("probe/conditional", b"1", "text/plain", only_new=True)
        if await self.put("probe/conditional", b"2", "text/plain", only_new=True):
            raise ConditionsIgnored
