"""A batch of 300 through kill -9 of a worker and of the gateway."""

import asyncio
from pathlib import Path

from tests.audit import audit
from tests.end_to_end.bulk import CountWatch, feed_of, one_event_each, results_of, stored_results, submit_batch, upload
from tests.end_to_end.caller import Caller, calling, until
from tests.end_to_end.known_edits import PROMPTS, Judge, picture_bytes
from tests.end_to_end.stack import Stack

_ITEMS = 300
_PICTURES = 6
_DEADLINE_S = 90.0


async def test_a_batch_survives_a_killed_worker_and_a_killed_gateway(tmp_path: Path) -> None:
    with Stack(tmp_path / "stack") as stack:
        workers = [stack.start_worker() for _ in range(2)]
        async with calling(stack) as caller:
            uploads = [await upload(caller, picture_bytes(number)) for number in range(_PICTURES)]
            items = [{"custom_id": f"n{n}", "image_id": uploads[n % _PICTURES], "prompt": _prompt(n)} for n in range(_ITEMS)]
            batch_id = await submit_batch(caller, items, webhook_url=caller.receiver.url)
            watch = CountWatch(caller, batch_id, _ITEMS, compare_every=1)
            ending = asyncio.create_task(watch.until_ended(deadline_s=_DEADLINE_S))
            try:
                for worker in workers:
                    await asyncio.to_thread(worker.ready)
                await _so_many_ended(watch, 40)
                workers[0].kill()
                stack.start_worker()
                await _so_many_ended(watch, 120)
                stack.gateway.kill()
                await asyncio.to_thread(stack.start_gateway().ready)
                batch = await ending
            finally:
                ending.cancel()
            assert batch["status"] == "completed"
            assert not watch.wrong, watch.wrong[:10]
            assert (batch["counts"]["succeeded"], watch.compared > 5) == (_ITEMS, True)
            jobs = await results_of(caller, batch_id)
            assert [job["custom_id"] for job in jobs] == [item["custom_id"] for item in items]
            judge, files = Judge(), await stored_results(caller, [job["id"] for job in jobs])
            assert all(judge.is_right(file.read_bytes(), n % _PICTURES, _prompt(n)) for n, file in enumerate(files))
            assert not one_event_each(await feed_of(caller), [job["id"] for job in jobs], [batch_id])
            await _told_once(caller, batch_id)
            await audit(caller.store)


def _prompt(n: int) -> str:
    return PROMPTS[n // _PICTURES % len(PROMPTS)]


async def _so_many_ended(watch: CountWatch, wanted: int) -> None:
    async def so() -> bool:
        return bool(watch.batch and watch.batch["counts"]["succeeded"] >= wanted)

    await until(so, lambda: f"fewer than {wanted} have ended: {watch.batch}", deadline_s=_DEADLINE_S)


async def _told_once(caller: Caller, batch_id: str) -> None:
    async def so() -> bool:
        return batch_id in caller.receiver.ids

    await until(so, lambda: "the batch's end was not told")
    assert dict(caller.receiver.ids) == {batch_id: {f"evt_{batch_id.partition('_')[2]}_completed": 1}}
    assert caller.receiver.states == {batch_id: "completed"}
