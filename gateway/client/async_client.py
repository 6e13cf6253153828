"""The API as asynchronous calls: submit an edit, follow it to its end, fetch the result."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from shared.edit import Operation

_PREFIX = "/api/image-studio/edit"
_TERMINAL = ("succeeded", "failed", "canceled")
_CALL_S = 60.0
# The service sends a comment every 15 s; a stream that is silent for longer is dead.
_STREAM_SILENCE_S = 45.0
_RECONNECT_S = 0.5
_LINE_MAX_BYTES = 1024 * 1024

Job = dict[str, Any]


class ApiError(Exception):
    """The service refused, or did not answer (`status` 0, code `unreachable`). `code`: stable, see `GET …/errors`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail


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


async def _error(answer: aiohttp.ClientResponse) -> ApiError:
    try:
        problem = await answer.json(content_type=None)
        return ApiError(answer.status, problem["code"], problem["detail"])
    except (ValueError, TypeError, KeyError):
        return ApiError(answer.status, "not_a_problem", f"the service answered {answer.status} without saying why")
