"""Pictures in S3-compatible storage: put, get, presigned links; the key layout. The only user of boto3.

in/{tenant}/{edit}/{role}-{n}.{ext}       inputs, as the caller sent them
in/{tenant}/{batch}/{n}.{ext}             file parts of a batch's form
in/{tenant}/{upload}/content              an upload, until somebody looked at it; from then on {sha256}.{ext} beside it
sent/{tenant}/{edit}/{gen}/…              what was sent to a provider, where it differs from the input
out/{tenant}/{edit}/{gen}/0.{ext}         the result; {gen} keeps a stale worker from overwriting a published one
out/{tenant}/{edit}/{gen}/thumb-{w}.webp  320 and 1024 px
out/{tenant}/{edit}/{gen}/done.json       written last: this generation's result is whole
out/{tenant}/{edit}/job.json              manifest, for people who look into the bucket
rejected/{tenant}/{edit}/{gen}/…          outputs that failed inspection

`worker/retention.py` or the bucket's own rules remove what is old.
"""

import asyncio
import contextlib
import functools
import ipaddress
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.errors import StorageUnavailable
from shared.settings import Settings

_CHUNK_BYTES = 256 * 1024
_THREADS = 32
_DELETES_AT_ONCE = 16


class ObjectMissing(Exception):
    """There is no object under this key."""


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What the storage says of an object."""

    bytes: int
    content_type: str
    etag: str


class Storage:
    """One bucket. All calls run in threads; each has a deadline of `storage_timeout_s`."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.s3_bucket
        self._timeout_s = settings.storage_timeout_s
        self._link_life_s = settings.link_life_s
        # Threads of its own: a silent storage must not use up those that everything else waits for.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        self._client = _client(settings, settings.s3_endpoint_url)
        self._signer = _client(settings, settings.s3_public_url) if settings.s3_public_url else self._client
        self._is_public = _is_public(settings.s3_public_url or settings.s3_endpoint_url)

    def reachable_from(self, base_url: str | None) -> bool:
        """Whether a provider at `base_url` (None: its own, on the internet) can fetch our links."""
        return self._is_public or (base_url is not None and not _is_public(base_url))

    async def ensure_bucket(self) -> None:
        """Make the bucket if it does not exist. Raises StorageUnavailable."""
        try:
            await self._call(self._client.head_bucket, Bucket=self._bucket)
        except ObjectMissing:
            await self._call(self._client.create_bucket, Bucket=self._bucket)

    async def ping(self) -> None:
        """Raises StorageUnavailable unless the bucket answers."""
        try:
            await self._call(self._client.head_bucket, Bucket=self._bucket)
        except ObjectMissing:
            raise StorageUnavailable(f"the bucket {self._bucket} does not exist") from None

    async def put(self, key: str, body: bytes | Path, *, content_type: str) -> None:
        """Store `body` (bytes, or a file that is streamed) under `key`, replacing what was there. Safe to repeat.

        Raises:
            StorageUnavailable: no answer within `storage_timeout_s`.
        Source: S3 PutObject reference: an object is added whole or not at all.
        """

        def run() -> None:
            if isinstance(body, Path):
                with body.open("rb") as file:
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=file, ContentType=content_type)
            else:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType=content_type)

        await self._call(run)

    async def get(self, key: str) -> bytes:
        """The object's bytes. Raises ObjectMissing, StorageUnavailable."""

        def run() -> bytes:
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            return data

        data: bytes = await self._call(run)
        return data

    async def download(self, key: str, path: Path) -> None:
        """The object into a file. Raises ObjectMissing, StorageUnavailable."""

        def run() -> None:
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            with path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)

        await self._call(run)

    async def head(self, key: str) -> ObjectHead:
        """Size, type and ETag. Raises ObjectMissing, StorageUnavailable."""
        answer = await self._call(self._client.head_object, Bucket=self._bucket, Key=key)
        return ObjectHead(answer["ContentLength"], answer.get("ContentType", ""), answer["ETag"])

    async def stream(self, key: str, *, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """`length` bytes from `start`, in chunks of at most 256 KiB. Raises ObjectMissing, StorageUnavailable."""
        if length == 0:
            return
        ranged = f"bytes={start}-{start + length - 1}"
        answer = await self._call(self._client.get_object, Bucket=self._bucket, Key=key, Range=ranged)
        body = answer["Body"]
        try:
            while chunk := await self._call(body.read, _CHUNK_BYTES):
                yield chunk
        finally:
            body.close()

    async def keys_under(self, prefix: str) -> list[str]:
        """At most 1 000 keys under `prefix`, in order. Raises StorageUnavailable."""
        answer = await self._call(self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix)
        return sorted(item["Key"] for item in answer.get("Contents", ()))

    async def folders_under(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        """At most `limit` names between `prefix` and the next slash, in order, those that come after `after` only.

        Raises StorageUnavailable.
        """
        # The character after the slash: what lies in the folder `after` is not listed again.
        place, found = {"StartAfter": f"{prefix}{after}0"} if after else {}, list[str]()
        while True:
            answer = await self._call(
                self._client.list_objects_v2, Bucket=self._bucket, Prefix=prefix, Delimiter="/", MaxKeys=max(limit, 100), **place
            )
            found += [item["Prefix"].removeprefix(prefix).rstrip("/") for item in answer.get("CommonPrefixes", ())]
            if len(found) >= limit or not answer["IsTruncated"]:
                return found[:limit]
            # Objects that lie beside the folders fill pages too.
            place = {"ContinuationToken": answer["NextContinuationToken"]}

    async def lifecycle_days(self) -> dict[str, int]:
        """Prefix to the days after which the bucket's own rules remove what lies under it. Raises StorageUnavailable.

        Source: S3 GetBucketLifecycleConfiguration. Servers without such rules answer with anything but rules.
        """
        try:
            answer = await self._call(self._client.get_bucket_lifecycle_configuration, Bucket=self._bucket)
        except ObjectMissing:
            return {}
        found: dict[str, int] = {}
        for rule in answer.get("Rules", ()):
            days = rule.get("Expiration", {}).get("Days")
            narrowed = rule.get("Filter", {})
            if days is not None and rule["Status"] == "Enabled" and narrowed.keys() <= {"Prefix"}:
                prefix = narrowed.get("Prefix", rule.get("Prefix", ""))
                found[prefix] = min(days, found.get(prefix, days))
        return found

    async def delete(self, keys: list[str]) -> None:
        """Remove objects; absent ones are no error. Raises StorageUnavailable."""
        for key in keys:
            try:
                await self._call(self._client.delete_object, Bucket=self._bucket, Key=key)
            except ObjectMissing:
                continue

    async def delete_under(self, prefix: str, *, within_s: float) -> None:
        """Remove all objects under `prefix`, or as many as can be in that time. Raises StorageUnavailable."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while keys := await self.keys_under(prefix):
                    await asyncio.gather(*(self.delete(keys[n::_DELETES_AT_ONCE]) for n in range(_DELETES_AT_ONCE)))

    async def link(self, key: str, *, now: datetime | None = None, filename: str | None = None) -> tuple[str, datetime]:
        """A presigned GET link and when it ends. Made locally: the object need not exist.

        `filename`: for the Content-Disposition; it also makes the link unlike every other.
        """
        params: dict[str, Any] = {"Bucket": self._bucket, "Key": key}
        if filename is not None:
            params["ResponseContentDisposition"] = f'inline; filename="{filename}"'
        url: str = await asyncio.to_thread(
            self._signer.generate_presigned_url, "get_object", Params=params, ExpiresIn=self._link_life_s
        )
        return url, (now or datetime.now(UTC)) + timedelta(seconds=self._link_life_s)

    async def put_link(self, key: str) -> tuple[str, datetime]:
        """A presigned PUT link, and when it ends: whoever has it may put an object there, and replace it."""
        params = {"Bucket": self._bucket, "Key": key}
        url: str = await asyncio.to_thread(
            self._signer.generate_presigned_url, "put_object", Params=params, ExpiresIn=self._link_life_s
        )
        return url, datetime.now(UTC) + timedelta(seconds=self._link_life_s)

    async def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a boto3 call in a thread and translate its errors."""
        try:
            async with asyncio.timeout(self._timeout_s):
                call = functools.partial(function, *args, **kwargs)
                return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            if status == 404 and code != "NoSuchBucket":
                raise ObjectMissing from None
            raise StorageUnavailable(f"the storage refused the request: {status} {code}") from error
        except (BotoCoreError, TimeoutError, OSError) as error:
            raise StorageUnavailable("the storage did not answer") from error


def _client(settings: Settings, endpoint_url: str | None) -> Any:
    access, secret = settings.s3_access_key, settings.s3_secret_key
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access.get_secret_value() if access else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        region_name=settings.s3_region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            max_pool_connections=_THREADS,
            connect_timeout=5,
            read_timeout=settings.storage_timeout_s,
            retries={"max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _is_public(endpoint_url: str | None) -> bool:
    """Whether providers can fetch links: AWS, or an endpoint that is not plainly an inner one."""
    if endpoint_url is None:
        return True
    host = urlsplit(endpoint_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host
