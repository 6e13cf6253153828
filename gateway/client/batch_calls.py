"""Batches: submitted, followed, steered, and what came out of them."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, TypedDict, Unpack, cast

from gateway.client.answers import Batch, Job
from gateway.client.connection import TRANSFER, fresh_key
from gateway.client.picture_calls import PictureCalls
from gateway.client.wishes import BatchWishes


class ItemPage(TypedDict):
    """Items in the order of the batch, as they stand. `next_cursor`: where the next page begins, None after the last."""

    items: list[Job]
    next_cursor: str | None


class BatchCalls(PictureCalls):
    """All of them are safe to repeat, and repeated."""

    async def submit_batch(
        self, items: Iterable[Mapping[str, Any]], *, idempotency_key: str | None = None, **fields: Unpack[BatchWishes]
    ) -> Batch:
        """The accepted batch. `items`: requests, each with a `custom_id` if it shall be found again; `fields`: of the batch.

        The pictures of an item (`image`, `mask`, …) are given as for an edit, and uploaded; or as the API has them (`image_id`,
        `image_url`). With one key, the same items are one batch. Raises ApiError, PictureUnusable, OSError.
        """
        asked = await self._named(items)
        first = {"defaults": {}, **fields}
        body = await asyncio.to_thread(lambda: "\n".join(map(json.dumps, (first, *asked))).encode())
        key = idempotency_key or fresh_key()

        async def send() -> Any:
            headers = {"Idempotency-Key": key, "Content-Type": "application/x-ndjson"}
            return await self._document("POST", "/batches", data=io.BytesIO(body), headers=headers, timeout=TRANSFER)

        return cast(Batch, await self._patiently(send))

    async def batch(self, batch_id: str, *, wait_s: int = 0) -> Batch:
        """The batch as it stands, or as soon as it has ended or is held. Raises ApiError."""
        return cast(Batch, await self._get(f"/batches/{batch_id}", wait=wait_s or None))

    async def batch_items(self, batch_id: str, *, cursor: int = 0, limit: int = 100) -> ItemPage:
        """`items` from this place of the batch on. Raises ApiError."""
        return cast(ItemPage, await self._get(f"/batches/{batch_id}/items", cursor=cursor, limit=limit))

    async def results(self, batch_id: str) -> AsyncGenerator[Job, None]:
        """Every item in its order, as it stands; of one that was deleted only `id` and `status`, which is `gone`.

        Raises ApiError.
        """
        cursor: str | None = "0"
        while cursor is not None:
            page: ItemPage = await self.batch_items(batch_id, cursor=int(cursor))
            for job in page["items"]:
                yield job
            cursor = page["next_cursor"]

    async def stream_batch(self, batch_id: str) -> AsyncGenerator[Batch, None]:
        """The batch at once and at its changes, until it has ended or is held and nothing of it runs. Raises ApiError."""
        async with aclosing(self._follow(f"/batches/{batch_id}/events")) as changes:
            async for batch in changes:
                yield batch
                if batch["finished_at"] is not None or (batch["status"] == "held" and not batch["counts"]["running"]):
                    return

    async def wait_batch(self, batch_id: str, *, timeout_s: float, on_change: Callable[[Batch], None] | None = None) -> Batch:
        """The batch once it has ended, or is held and nothing of it runs; `on_change` gets it at every change.

        Raises:
            TimeoutError: it has not ended within `timeout_s`. It goes on; wait again.
            ApiError.
        """
        return await self._last(self.stream_batch(batch_id), batch_id, timeout_s, on_change)

    async def cancel_batch(self, batch_id: str) -> Batch:
        """End what waits, ask what runs to stop. Raises ApiError: AlreadyFinished if there is nothing to stop."""
        return cast(Batch, await self._post(f"/batches/{batch_id}/cancel"))

    async def release_batch(self, batch_id: str, *, max_cost: float | None = None) -> Batch:
        """Let a held batch go on; `max_cost`: USD, instead of its limit so far. Raises ApiError."""
        changes = {} if max_cost is None else {"max_cost": max_cost}
        return cast(Batch, await self._post(f"/batches/{batch_id}/release", json=changes))
