"""A batch from files to files: pictures uploaded, submitted once, each result saved as its edit ends.

What is done is kept in the journal, so that a run goes on where another one was cut off.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar

from gateway.client.answers import Batch, Job
from gateway.client.api_error import ApiError, PictureUnusable
from gateway.client.async_client import AsyncClient
from gateway.client.batch_journal import Item, Journal, Outcome, Submitted
from gateway.client.batch_source import SourceUnusable, Wanted
from gateway.client.pictures import ending_of

_ENDED: tuple[Literal["succeeded", "failed", "canceled"], ...] = ("succeeded", "failed", "canceled")
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_REFUSED = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_PAGE = 100
_LOOK_AGAIN_S = 1
_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class BatchRun:
    """`concurrency`: pictures that are read, uploaded or saved at once.

    `step` is told what is being prepared, how much of it is done and of how many; `stands` the batch and how many edits are
    dealt with, here.
    """

    client: AsyncClient
    journal: Journal
    concurrency: int
    step: Callable[[str, int, int], None]
    stands: Callable[[Batch, int], None]

    async def begin(self, wanted: Sequence[Wanted], fields: Mapping[str, Any]) -> Sequence[Item]:
        """Upload and submit what was not before. Answers what was asked for; without a batch if all of it was refused.

        Raises:
            SourceUnusable: the service takes no batch of this size, or the folder holds the results of another one.
            ApiError, OSError.
        """
        limits = await self.client.limits()
        refusals: dict[Path, str] = {}
        paths = {path: None for one in wanted for path in one.pictures.values() if isinstance(path, Path)}
        digests = await self._digests(list(paths), refusals, max_bytes=limits["image_max_bytes"])
        plan = _sha256([fields, [_plan(one, digests) for one in wanted]])
        if self.journal.submitted is not None:
            if self.journal.submitted.plan != plan:
                raise SourceUnusable(
                    f"{self.journal.folder} has the results of {self.journal.submitted.batch_id}, which was for other pictures "
                    "or wishes: choose another --out"
                )
            return self.journal.submitted.items
        most = min(limits["batch_items_max"], limits["unfinished_batch_items_max"])
        if len(wanted) > most:
            raise SourceUnusable(f"{len(wanted)} edits are too many: the service takes {most} of you at once")
        await self._upload(digests, refusals)
        items = [_item(one, refusals) for one in wanted]
        asked = [self._request(one, digests) for one, item in zip(wanted, items, strict=True) if not item.refusal]
        if asked:
            # Of all that is sent: cut off before the answer came, the next run sends the same and gets the same batch.
            batch = await self.client.submit_batch(asked, idempotency_key=_sha256([fields, asked]), **fields)
            self.journal.tell_submitted(Submitted(batch["id"], plan, items))
        return items

    async def follow(self) -> Batch:
        """Save each result as its edit ends; the batch once it has ended, or is held and nothing of it runs any more.

        Raises ApiError, OSError.
        """
        assert self.journal.submitted is not None
        batch_id, wait_s = self.journal.submitted.batch_id, 0
        items = {item.custom_id: item for item in self.journal.submitted.items if not item.refusal}
        while True:
            batch = await self.client.batch(batch_id, wait_s=wait_s)
            self.stands(batch, len(self.journal.outcomes))
            async for jobs in self._newly_ended(batch, list(items)):

                async def save(job: Job, batch: Batch = batch) -> None:
                    await self._save(job, items[job["custom_id"] or ""])
                    self.stands(batch, len(self.journal.outcomes))

                await self._each(jobs, save)
            if batch["finished_at"] is not None:
                for custom_id in items.keys() - self.journal.outcomes.keys():
                    self.journal.tell_outcome(custom_id, Outcome("gone", error="the edit was deleted"))
                return batch
            if batch["status"] == "held":
                if not batch["counts"]["running"]:
                    return batch
                await asyncio.sleep(_LOOK_AGAIN_S)
            wait_s = _LOOK_AGAIN_S

    async def _digests(self, paths: Sequence[Path], refusals: dict[Path, str], *, max_bytes: int) -> dict[Path, str]:
        """SHA-256 of each file that can be sent."""
        found: dict[Path, str] = {}

        async def read(path: Path) -> None:
            try:
                status = await asyncio.to_thread(path.stat)
                if status.st_size > max_bytes:
                    refusals[path] = f"picture_too_large: the picture has more than {max_bytes} bytes"
                    return
                digest = self.journal.digest_of(path, status)
                if digest is None:
                    digest = await asyncio.to_thread(_file_sha256, path)
                    self.journal.tell_digest(path, status, digest)
                found[path] = digest
            except OSError as error:
                refusals[path] = f"unreadable: {error.strerror}"

        await self._each(paths, read, "reading")
        return found

    async def _upload(self, digests: Mapping[Path, str], refusals: dict[Path, str]) -> None:
        """Upload equal files once, and none that the service still has."""
        first: dict[str, Path] = {}
        for path, digest in digests.items():
            first.setdefault(digest, path)
        why: dict[str, str] = {}

        async def upload(digest: str) -> None:
            try:
                uploaded = await self.client.upload(first[digest])
                if uploaded["picture"]["sha256"] != digest:
                    why[digest] = "unreadable: the file was changed while it was read"
                else:
                    self.journal.tell_image(digest, uploaded["image_id"])
            except OSError as error:
                why[digest] = f"unreadable: {error.strerror}"
            except PictureUnusable as error:
                why[digest] = f"unreadable: {error}"
            except ApiError as error:
                if error.status not in _REFUSED:
                    raise
                why[digest] = f"{error.code}: {error.detail}"

        await self._each([digest for digest in first if self.journal.image_id_of(digest) is None], upload, "uploading")
        refusals.update({path: why[digest] for path, digest in digests.items() if digest in why})

    def _request(self, one: Wanted, digests: Mapping[Path, str]) -> dict[str, Any]:
        request = {"custom_id": one.custom_id, **one.fields}
        for name, picture in one.pictures.items():
            if isinstance(picture, Path):
                request[f"{name}_id"] = self.journal.image_id_of(digests[picture])
            else:
                request[f"{name}_url"] = picture
        return request

    async def _newly_ended(self, batch: Batch, custom_ids: Sequence[str]) -> AsyncIterator[list[Job]]:
        """Edits that have ended and are not dealt with, a page at a time.

        They end nearly in their order: no page is asked for that has none, or that comes after the last one.
        """
        outcomes = self.journal.outcomes
        left = sum(batch["counts"][status] for status in _ENDED) - sum(name in outcomes for name in custom_ids)
        for start in range(0, len(custom_ids), _PAGE):
            if left < 1:
                return
            if all(name in outcomes for name in custom_ids[start : start + _PAGE]):
                continue
            page = await self.client.batch_items(batch["id"], cursor=start, limit=_PAGE)
            jobs = [job for job in page["items"] if job["status"] in _ENDED and job["custom_id"] not in outcomes]
            left -= len(jobs)
            yield jobs

    async def _save(self, job: Job, item: Item) -> None:
        error = job["error"] and f"{job['error']['code']}: {job['error']['message']}"
        result = None
        if job["output"] is not None:
            result = f"{item.stem}.{ending_of(job['output'])}"
            file = self.journal.folder / result
            await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
            try:
                await self.client.save_result(job, file)
            except ApiError as fault:
                if fault.status not in _GONE:
                    raise
                result, error = None, f"{fault.code}: {fault.detail}"
        outcome = Outcome(job["status"], result, error, job["cost"]["actual"], job["model"])
        self.journal.tell_outcome(item.custom_id, outcome)

    async def _each(self, things: Sequence[_Thing], work: Callable[[_Thing], Awaitable[None]], title: str = "") -> None:
        """Do it with all of them, some at once; the first that fails ends the others."""
        todo, done = iter(things), 0

        async def some() -> None:
            nonlocal done
            for thing in todo:
                await work(thing)
                done += 1
                if title:
                    self.step(title, done, len(things))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.concurrency, len(things))):
                    group.create_task(some())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None


def _item(one: Wanted, refusals: Mapping[Path, str]) -> Item:
    why = [refusals[path] for path in one.pictures.values() if isinstance(path, Path) and path in refusals]
    return Item(one.custom_id, one.source, one.stem, why[0] if why else "")


def _plan(one: Wanted, digests: Mapping[Path, str]) -> list[Any]:
    """What tells the wish from others, whatever its pictures will be uploaded as."""
    told = {name: digests.get(picture, "") if isinstance(picture, Path) else picture for name, picture in one.pictures.items()}
    return [one.custom_id, told, one.fields]


def _sha256(document: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
