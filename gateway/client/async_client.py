"""The API as asynchronous calls: edit a picture, or submit an edit or a batch, follow it to its end, fetch the results."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Unpack, cast

import aiohttp

from gateway.client.answers import FeedbackView, FeedPage, Job, JobPage, QuoteAnswer
from gateway.client.api_error import Damaged
from gateway.client.batch_calls import BatchCalls
from gateway.client.connection import CALL_S, TRANSFER, fresh_key
from gateway.client.edited import Edited, file_for
from gateway.client.errors import AlreadyFinished
from gateway.client.pictures import Picture
from gateway.client.reference_answers import Limits, ModelDetail, ModelList, RecommendAnswer, UsageAnswer
from gateway.client.refusal import failure_of
from gateway.client.wishes import EditWishes, JobFilters, ModelFilters, RecommendWishes
from shared.edit import Operation

TERMINAL = ("succeeded", "failed", "canceled")
_EDIT_S = 900.0
_PIECE_BYTES = 256 * 1024


class AsyncClient(BatchCalls):
    """Use as `async with AsyncClient("http://127.0.0.1:8080", api_key) as client`.

    Calls that are safe to repeat are repeated while the service is busy, as it wishes, and for a while when it does not answer;
    that is all of them, because what creates something is sent under an idempotency key. Every call may raise ApiError: see
    `gateway.client.errors` for its classes.
    """

    async def edit(
        self,
        image: Picture,
        prompt: str | None = None,
        *,
        operation: str = Operation.GENERAL_EDIT,
        mask: Picture | None = None,
        background_image: Picture | None = None,
        lighting_image: Picture | None = None,
        references: Sequence[Picture] = (),
        quote_id: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float = _EDIT_S,
        on_change: Callable[[Job], None] | None = None,
        **wishes: Unpack[EditWishes],
    ) -> Edited:
        """The edited picture. Arguments as for `submit`; `on_change` gets the edit at every change.

        Raises:
            ApiError: the service refused, or the edit failed: then of the class of its failure, with the edit as `job`.
            TimeoutError: it has not ended within `timeout_s`. It goes on; the message has its id.
            PictureUnusable, OSError.
        """
        job = await self.submit(
            image,
            prompt,
            operation=operation,
            mask=mask,
            background_image=background_image,
            lighting_image=lighting_image,
            references=references,
            quote_id=quote_id,
            idempotency_key=idempotency_key,
            **wishes,
        )
        job = await self.wait(job["id"], timeout_s=timeout_s, on_change=on_change)
        if job["output"] is None:
            raise failure_of(job)
        content = await self.result(job["id"])
        if hashlib.sha256(content).hexdigest() != job["output"]["sha256"]:
            raise _damaged()
        return Edited(job, content)

    async def submit(
        self,
        image: Picture,
        prompt: str | None = None,
        *,
        operation: str = Operation.GENERAL_EDIT,
        mask: Picture | None = None,
        background_image: Picture | None = None,
        lighting_image: Picture | None = None,
        references: Sequence[Picture] = (),
        quote_id: str | None = None,
        idempotency_key: str | None = None,
        **wishes: Unpack[EditWishes],
    ) -> Job:
        """The accepted job. Pictures: a path, bytes, an open file, a PIL image, a URL, the id of an upload or an earlier edit.

        `wishes`: the other fields of a request, as `GET …/operations` lists them. Each call is an edit, unless it has the
        `idempotency_key` of an earlier one: then it is that one. Raises ApiError, PictureUnusable, OSError.
        """
        named = {"quote_id": quote_id, "prompt": prompt}
        fields = {"operation": operation, **{name: text for name, text in named.items() if text is not None}, **wishes}
        pictures = {"image": image, "mask": mask, "background_image": background_image, "lighting_image": lighting_image}
        parts = await self._parts(fields, pictures, references)
        return cast(Job, await self._send("/process", parts, idempotency_key=idempotency_key or fresh_key()))

    async def quote(
        self,
        image: Picture | None = None,
        prompt: str | None = None,
        *,
        image_resolution: tuple[int, int] | None = None,
        operation: str = Operation.GENERAL_EDIT,
        mask: Picture | None = None,
        references: Sequence[Picture] = (),
        **wishes: Unpack[EditWishes],
    ) -> QuoteAnswer:
        """Models and price for an edit, held for ten minutes: give its `quote_id` to `submit` with the same wishes.

        `image_resolution`: width and height in pixels, where there is no picture yet. Raises ApiError, PictureUnusable, OSError.
        """
        fields: dict[str, Any] = {"operation": operation, **({} if prompt is None else {"prompt": prompt}), **wishes}
        if image_resolution is not None:
            fields["image_resolution"] = dict(zip(("width", "height"), image_resolution, strict=True))
        parts = await self._parts(fields, {"image": image, "mask": mask}, references)
        return cast(QuoteAnswer, await self._send("/quote", parts, idempotency_key=fresh_key()))

    async def job(self, job_id: str) -> Job:
        """The edit as it stands. Raises ApiError."""
        return cast(Job, await self._get(f"/jobs/{job_id}"))

    async def jobs(self, **filters: Unpack[JobFilters]) -> JobPage:
        """Some edits, newest first. Raises ApiError."""
        return cast(JobPage, await self._get("/jobs", **filters))

    async def stream(self, job_id: str) -> AsyncGenerator[Job, None]:
        """The edit at each change, until it has ended; a broken connection is taken up again. Raises ApiError."""
        job = await self.job(job_id)
        if job["status"] in TERMINAL:
            yield job
            return
        async with aclosing(self._follow(f"/jobs/{job_id}/events")) as changes:
            async for job in changes:
                yield job
                if job["status"] in TERMINAL:
                    return

    async def wait(self, job_id: str, *, timeout_s: float, on_change: Callable[[Job], None] | None = None) -> Job:
        """The edit once it has ended, however it ended; `on_change` gets it at every change.

        Raises:
            TimeoutError: it has not ended within `timeout_s`. It goes on; wait again.
            ApiError.
        """
        return await self._last(self.stream(job_id), job_id, timeout_s, on_change)

    async def result(self, job_id: str) -> bytes:
        """The edited picture. Raises ApiError: NotFinished before it is there."""

        async def read() -> bytes:
            async with self._request("GET", f"/jobs/{job_id}/result", timeout=TRANSFER) as answer:
                return await answer.read()

        return await self._patiently(read)

    async def save_result(self, job: Job, path: str | PathLike[str]) -> Path:
        """Put the result of this edit into a file (or a folder), whole and as the service has it, or not at all; the file.

        Raises ApiError: Damaged if other bytes came than were stored; OSError.
        """
        if job["output"] is None:
            raise ValueError(f"job: {job['id']} has no result, it is {job['status']}")
        file, sha256 = await asyncio.to_thread(file_for, job, Path(path)), job["output"]["sha256"]
        draft = file.with_name(f".{job['id']}.part")

        async def save() -> None:
            digest = hashlib.sha256()
            async with self._request("GET", f"/jobs/{job['id']}/result", timeout=TRANSFER) as answer:
                target: BinaryIO = await asyncio.to_thread(draft.open, "wb")
                with target:
                    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                        digest.update(piece)
                        await asyncio.to_thread(target.write, piece)
            if digest.hexdigest() != sha256:
                raise _damaged()
            await asyncio.to_thread(draft.replace, file)

        try:
            await self._patiently(save)
        finally:
            draft.unlink(missing_ok=True)
        return file

    async def cancel(self, job_id: str) -> Job:
        """Stop an edit: at once while it waits; one that runs is asked to stop, and its provider may still bill.

        Raises ApiError: AlreadyFinished if it has ended otherwise.
        """
        try:
            return cast(Job, await self._post(f"/jobs/{job_id}/cancel"))
        except AlreadyFinished:
            # Perhaps by this very call, whose answer was lost.
            job = await self.job(job_id)
            if job["status"] != "canceled":
                raise
            return job

    async def feedback(
        self, job_id: str, rating: int, *, accepted: bool | None = None, comment: str | None = None
    ) -> FeedbackView:
        """Rate a result from 1 to 5, which is best; it enters the recommendation. The last one counts. Raises ApiError."""
        said = {"rating": rating, "accepted": accepted, "comment": comment}
        told = {name: value for name, value in said.items() if value is not None}
        return cast(FeedbackView, await self._post(f"/jobs/{job_id}/feedback", json=told))

    async def models(self, **filters: Unpack[ModelFilters]) -> ModelList:
        """The models that pass, in catalogue order. Raises ApiError."""
        return cast(ModelList, await self._get("/models", **filters))

    async def model(self, model_id: str) -> ModelDetail:
        """One model with its parameters, prices and health. Raises ApiError."""
        return cast(ModelDetail, await self._get(f"/models/{model_id}"))

    async def recommend(self, **wishes: Unpack[RecommendWishes]) -> RecommendAnswer:
        """Which model an edit like this would get now, why, and what else there is. Raises ApiError."""
        return cast(RecommendAnswer, await self._post("/recommend", json=wishes))

    async def limits(self) -> Limits:
        """Sizes, rates and quotas. Raises ApiError."""
        return cast(Limits, await self._get("/limits"))

    async def usage(self, *, first: str | None = None, last: str | None = None, group_by: str = "day") -> UsageAnswer:
        """What ended and what was charged. `first`, `last`: days (UTC) as YYYY-MM-DD, both count; without them the last 30.

        `group_by`: comma-separated, of day, model, key. Raises ApiError.
        """
        return cast(UsageAnswer, await self._get("/usage", **{"from": first, "to": last, "group_by": group_by}))

    async def events(self, after: str = "", *, wait_s: int = 0, limit: int = 100, expand: bool = False) -> FeedPage:
        """Changes of all edits and batches, in order: `events` and `next_cursor`, which is the next call's `after`.

        `after`: `latest` for what is new; empty: from the oldest one kept. With `expand` each has its edit or batch as `data`.
        Not repeated: whoever follows decides. Raises ApiError: Gone for a cursor that is too old.
        """
        query = {"wait": str(wait_s), "limit": str(limit), "expand": str(expand).lower(), **({"after": after} if after else {})}
        timeout = aiohttp.ClientTimeout(total=wait_s + CALL_S)
        return cast(FeedPage, await self._document("GET", "/events", params=query, timeout=timeout))

    async def webhook_secrets(self) -> tuple[str, ...]:
        """What webhooks are signed with: the current secret, and the previous one while its rotation lasts. Raises ApiError."""
        found = await self._get("/webhooks/secret")
        return tuple(secret for secret in (found["secret"], found["previous"]) if secret is not None)


def _damaged() -> Damaged:
    return Damaged(0, Damaged.code, "the result is not what the service has stored")
