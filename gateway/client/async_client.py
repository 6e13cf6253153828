"""The API as asynchronous calls: submit an edit or a batch, follow it to its end, fetch the results."""

import asyncio
import hashlib
import io
import json
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import aiohttp

from shared.edit import Operation

_PREFIX = "/api/image-studio/edit"
_TERMINAL = ("succeeded", "failed", "canceled")
_CALL_S = 60.0
# The service sends a comment every 15 s; a stream that is silent for longer is dead.
_STREAM_SILENCE_S = 45.0
_RECONNECT_S = 0.5
_LINE_MAX_BYTES = 1024 * 1024
#: A batch of a hundred thousand lines, or a picture over a slow line.
_TRANSFER = aiohttp.ClientTimeout(total=1_800.0, sock_connect=_CALL_S)
_PIECE_BYTES = 256 * 1024
#: How long calls that are safe to repeat are repeated in all: while the service is busy, and while it does not answer.
_BUSY_S, _AWAY_S = 300.0, 15.0
_PAUSE_S, _PAUSE_MAX_S = 0.5, 8.0
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_AWAY = (0, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)

Job = dict[str, Any]
Batch = dict[str, Any]
_Answer = TypeVar("_Answer")


class ApiError(Exception):
    """The service refused, or did not answer (`status` 0, code `unreachable`). `code`: stable, see `GET …/errors`.

    `retry_after_s`: when it wants to be asked again, None if it did not say.
    """

    def __init__(self, status: int, code: str, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def is_busy(self) -> bool:
        """Whether the same call may succeed later, as the service itself says."""
        return self.status in _BUSY or self.code == "idempotency_in_flight"


class AsyncClient:
    """Use as `async with AsyncClient(base_url, api_key) as client`. `base_url`: without the API's own path."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._base_url = base_url.rstrip("/") + _PREFIX
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._opened: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_CALL_S)
        self._opened = aiohttp.ClientSession(headers=self._headers, timeout=timeout, read_bufsize=_LINE_MAX_BYTES)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def submit(
        self,
        image: bytes | Path,
        *,
        operation: str = Operation.GENERAL_EDIT,
        prompt: str | None = None,
        mask: bytes | Path | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Job:
        """The accepted job. `fields`: the other fields of a request, as `GET …/operations` lists them.

        Repeating a call whose answer was lost is safe with the same `idempotency_key`; without one, each call is an edit.
        Raises ApiError.
        """
        request = {"operation": operation, **({} if prompt is None else {"prompt": prompt}), **fields}
        form = aiohttp.FormData()
        form.add_field("request", json.dumps(request), content_type="application/json")
        for name, picture in (("image", image), ("mask", mask)):
            if picture is not None:
                content = await asyncio.to_thread(picture.read_bytes) if isinstance(picture, Path) else picture
                form.add_field(name, content, filename=name, content_type="application/octet-stream")
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        async with self._request("POST", "/process", data=form, headers=headers) as answer:
            job: Job = await answer.json()
            return job

    async def job(self, job_id: str) -> Job:
        """The job as it stands. Raises ApiError."""
        async with self._request("GET", f"/jobs/{job_id}") as answer:
            job: Job = await answer.json()
            return job

    async def wait(self, job_id: str, *, timeout_s: float, on_change: Callable[[Job], None] | None = None) -> Job:
        """The job once it has ended, however it ended; `on_change` gets it at every change before.

        Raises:
            TimeoutError: it has not ended within `timeout_s`. It goes on; wait again.
            ApiError: the service refused, or was unreachable when first asked.
        """
        async with asyncio.timeout(timeout_s):
            job = await self.job(job_id)
            while job["status"] not in _TERMINAL:
                try:
                    async for job in self._changes(job_id):
                        if on_change:
                            on_change(job)
                        if job["status"] in _TERMINAL:
                            return job
                except ApiError as error:
                    if error.status and error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                        raise
                await asyncio.sleep(_RECONNECT_S)
            if on_change:
                on_change(job)
            return job

    async def result(self, job_id: str) -> bytes:
        """The edited picture. Raises ApiError, with code `not_finished` before it is there."""
        async with self._request("GET", f"/jobs/{job_id}/result") as answer:
            return await answer.read()

    async def save_result(self, job: Job, file: Path) -> None:
        """Put the result of this edit into `file`, whole and as the service has it, or not at all. Repeated like `upload`.

        Raises ApiError, with code `damaged` if other bytes came than were stored; OSError.
        """
        draft = file.with_name(f".{job['id']}.part")

        async def save() -> None:
            digest = hashlib.sha256()
            async with self._request("GET", f"/jobs/{job['id']}/result", timeout=_TRANSFER) as answer:
                target: BinaryIO = await asyncio.to_thread(draft.open, "wb")
                with target:
                    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                        digest.update(piece)
                        await asyncio.to_thread(target.write, piece)
            if digest.hexdigest() != job["output"]["sha256"]:
                raise ApiError(0, "damaged", "the result is not what the service has stored")
            await asyncio.to_thread(draft.replace, file)

        try:
            await _patiently(save)
        finally:
            draft.unlink(missing_ok=True)

    async def limits(self) -> dict[str, Any]:
        """Sizes, rates and quotas. Raises ApiError."""
        return await self._document("GET", "/limits")

    async def upload(self, picture: bytes | Path) -> dict[str, Any]:
        """What was uploaded: requests name it by its `image_id`. It is forgotten after a day, unless an edit uses it.

        Repeated while the service is busy, as it wishes, for 5 minutes; and for 15 s while it does not answer.
        Raises ApiError, OSError.
        """
        room = await _patiently(lambda: self._document("POST", "/uploads"))

        async def put() -> dict[str, Any]:
            content = io.BytesIO(picture) if isinstance(picture, bytes) else await asyncio.to_thread(picture.open, "rb")
            with content:
                return await self._document("PUT", f"/uploads/{room['id']}/content", data=content, timeout=_TRANSFER)

        return await _patiently(put)

    async def submit_batch(
        self, items: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None, **fields: Any
    ) -> Batch:
        """The accepted batch. `items`: requests, each with a `custom_id` if it shall be found again; `fields`: of the batch.

        Repeated like `upload`, under one key. Raises ApiError.
        """
        lines = ({"defaults": {}, **fields}, *items)
        body = await asyncio.to_thread(lambda: "\n".join(map(json.dumps, lines)).encode())
        key = idempotency_key or secrets.token_hex(16)
        headers = {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
        call = self._document
        return await _patiently(lambda: call("POST", "/batches", data=io.BytesIO(body), headers=headers, timeout=_TRANSFER))

    async def batch(self, batch_id: str, *, wait_s: int = 0) -> Batch:
        """The batch as it stands, or as soon as it has ended or is held. Repeated like `upload`. Raises ApiError."""
        query = {"wait": str(wait_s)} if wait_s else {}
        return await _patiently(lambda: self._document("GET", f"/batches/{batch_id}", params=query))

    async def batch_items(self, batch_id: str, *, cursor: int = 0, limit: int = 100) -> dict[str, Any]:
        """`items` from this place of the batch on, and `next_cursor`. Repeated like `upload`. Raises ApiError."""
        query = {"cursor": str(cursor), "limit": str(limit)}
        return await _patiently(lambda: self._document("GET", f"/batches/{batch_id}/items", params=query))

    async def cancel_batch(self, batch_id: str) -> Batch:
        """End what waits, ask what runs to stop. Repeated like `upload`. Raises ApiError, with code `already_finished`."""
        return await _patiently(lambda: self._document("POST", f"/batches/{batch_id}/cancel"))

    async def release_batch(self, batch_id: str, *, max_cost: float | None = None) -> Batch:
        """Let a held batch go on; `max_cost`: USD, instead of its limit so far. Repeated like `upload`. Raises ApiError."""
        changes = {} if max_cost is None else {"max_cost": max_cost}
        return await _patiently(lambda: self._document("POST", f"/batches/{batch_id}/release", json=changes))

    async def events(self, after: str = "", *, wait_s: int = 0, limit: int = 100, expand: bool = False) -> dict[str, Any]:
        """Changes of all edits and batches, in order: `events` and `next_cursor`, which is the next call's `after`.

        `after`: `latest` for what is new; empty: from the oldest one kept. With `expand` each has its edit or batch as `data`.
        Raises ApiError, with code `gone` for a cursor that is too old.
        """
        query = {"wait": str(wait_s), "limit": str(limit), "expand": str(expand).lower(), **({"after": after} if after else {})}
        timeout = aiohttp.ClientTimeout(total=wait_s + _CALL_S)
        async with self._request("GET", "/events", params=query, timeout=timeout) as answer:
            page: dict[str, Any] = await answer.json()
            return page

    async def webhook_secrets(self) -> tuple[str, ...]:
        """What webhooks are signed with: the current secret, and the previous one while its rotation lasts. Raises ApiError."""
        async with self._request("GET", "/webhooks/secret") as answer:
            secrets = await answer.json()
            return tuple(secret for secret in (secrets["secret"], secrets["previous"]) if secret is not None)

    async def _changes(self, job_id: str) -> AsyncIterator[Job]:
        """The job at once and at each change, until the service ends the stream (server-sent events)."""
        silence = aiohttp.ClientTimeout(total=None, sock_connect=_CALL_S, sock_read=_STREAM_SILENCE_S)
        async with self._request("GET", f"/jobs/{job_id}/events", timeout=silence) as answer:
            data: list[str] = []
            async for raw in answer.content:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data:"):
                    data.append(line.removeprefix("data:"))
                elif not line and data:
                    yield json.loads("\n".join(data))
                    data.clear()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            raise RuntimeError("use the client in `async with`")
        return self._opened

    async def _document(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        async with self._request(method, path, **options) as answer:
            document: dict[str, Any] = await answer.json()
            return document

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer; refusals and lost connections become ApiError, also while the body is read."""
        try:
            async with self._session.request(method, self._base_url + path, **options) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise await _error(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "unreachable", f"the service does not answer: {type(error).__name__}") from error


async def _patiently(call: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer of a call that is safe to repeat. Raises ApiError, the last one if it was repeated in vain."""
    waited_s, pause_s = 0.0, _PAUSE_S
    while True:
        try:
            return await call()
        except ApiError as error:
            most_s = _BUSY_S if error.is_busy else _AWAY_S if error.status in _AWAY else 0.0
            wait_s = (error.retry_after_s or pause_s) * random.uniform(1.0, 1.25)
            if waited_s + wait_s > most_s:
                raise
        await asyncio.sleep(wait_s)
        waited_s, pause_s = waited_s + wait_s, min(2 * pause_s, _PAUSE_MAX_S)


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    seconds = answer.headers.get("Retry-After", "")
    retry_after_s = float(seconds) if seconds.isdecimal() else None
    try:
        problem = await answer.json(content_type=None)
        return ApiError(answer.status, problem["code"], problem["detail"], retry_after_s=retry_after_s)
    except (ValueError, TypeError, KeyError):
        detail = f"the service answered {answer.status} without saying why"
        return ApiError(answer.status, "not_a_problem", detail, retry_after_s=retry_after_s)
