"""Many pictures on the page: two hundred of them, the first three, those that failed, and a reload in the middle."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from shared.batch import Batch
from shared.ids import new_id
from shared.job import API_PREFIX
from tests.studio.conftest import CUP, Studio
from tests.studio.stub import Sent, Service

_T = "2026-01-02T03:04:05.000Z"
_ENDED = ("succeeded", "failed", "canceled")
_ERROR = {"code": "provider_error", "message": "no", "retryable": True, "by": "provider", "stage": "editing", "billed": False}


class BatchService(Service):
    """With batches, whose items move only when the test says so. `pictures`: those asked for; they wait for `letting`."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, dict[str, Any]] = {}
        self.items: dict[str, list[str]] = {}
        self.pictures: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.letting = asyncio.Event()
        self.letting.set()

    @web.middleware
    async def script(self, request: web.Request, handler: Any) -> web.StreamResponse:
        path = request.path.removeprefix(API_PREFIX)
        found = re.fullmatch(r"/batches(?:/(\w+))?(?:/([\w-]+))?", path)
        if found and (found[1] or request.method == "POST"):
            handler = self._route(request.method, found[1], found[2])
        return await super().script(request, handler)

    def _route(self, method: str, batch_id: str | None, what: str | None) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            if batch_id is None:
                manifest = json.loads(self.sent[-1].files["manifest"])
                return self._said(
                    self.new_batch([item["custom_id"] for item in manifest["items"]], canary=manifest.get("canary"))
                )
            if what == "items":
                return self._page(batch_id, request)
            if what == "events":
                return await self._stream(batch_id, request)
            if what == "release":
                self.made[batch_id] |= {"status": "running", "held_reason": None}
                self.changed.set()
            if what == "retry-failed":
                failed = [self.jobs[one]["custom_id"] for one in self.items[batch_id] if self.jobs[one]["status"] == "failed"]
                return self._said(self.new_batch(failed, parent_id=batch_id))
            return self._said(batch_id)

        return answer

    def new_batch(self, names: list[str], **fields: Any) -> str:
        """A running batch of queued items."""
        batch_id = new_id("batch", now_ms=int(time.time() * 1000), random_bytes=os.urandom(16))
        self.made[batch_id] = {"status": "running", "held_reason": None, "canary": None, "parent_id": None, **fields}
        self.items[batch_id] = [self.new_job(batch_id=batch_id, custom_id=name)["id"] for name in names]
        return batch_id

    def batch(self, batch_id: str) -> dict[str, Any]:
        """As the gateway shows it."""
        states = [self.jobs[one]["status"] for one in self.items[batch_id]]
        names = ("queued", "running", "succeeded", "failed", "canceled")
        here = f"{self.url}{API_PREFIX}/batches/{batch_id}"
        view = {
            "id": batch_id,
            "name": "",
            "counts": {"total": len(states), **{name: states.count(name) for name in names}},
            "cost": {"estimated": 0.02 * len(states), "actual": 0.02 * states.count("succeeded"), "max": None},
            "stop_on_failure_rate": None,
            "priority": "bulk",
            "metadata": {},
            "eta_s": None,
            "created_at": _T,
            "finished_at": None,
            "expires_at": None,
            "urls": dict.fromkeys(("self", "items", "results", "archive", "events", "cancel", "release", "retry_failed"), here),
            **self.made[batch_id],
        }
        if all(state in _ENDED for state in states):
            view |= {"status": "completed_with_errors" if "failed" in states else "completed", "finished_at": _T}
        shown: dict[str, Any] = json.loads(Batch.model_validate_json(json.dumps(view)).model_dump_json())
        return shown

    def _said(self, batch_id: str) -> web.Response:
        return web.json_response(self.batch(batch_id))

    def _page(self, batch_id: str, request: web.Request) -> web.Response:
        first, many = int(request.query.get("cursor", 0)), int(request.query["limit"])
        ids = self.items[batch_id]
        following = str(first + many) if first + many < len(ids) else None
        return web.json_response({"items": [self.jobs[one] for one in ids[first : first + many]], "next_cursor": following})

    async def _stream(self, batch_id: str, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(1, 1000):
            self.changed.clear()
            view = self.batch(batch_id)
            await response.write(f"event: status\nid: {number}\ndata: {json.dumps(view)}\n\n".encode())
            if view["finished_at"]:
                break
            await self.changed.wait()
        return response

    async def picture(self, request: web.Request) -> web.Response:
        self.pictures.append(request.path)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.letting.wait()
        finally:
            self.under_way -= 1
        return await super().picture(request)


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[BatchService]:
    async with BatchService().listening() as service:
        yield service


async def sent(studio: Studio, many: int) -> str:
    """A batch that the page has sent."""
    service = studio.service
    assert isinstance(service, BatchService)
    await studio.open()
    await studio.page.locator("#modes").get_by_role("radio", name="Batch").check()
    files: Any = [{**CUP, "name": f"cup-{n}.png"} for n in range(many)]
    await studio.page.locator("es-batch input[type=file]").set_input_files(files)
    await expect(studio.page.locator(".batch-head strong")).to_have_text(f"{many} pictures")
    await studio.page.get_by_label("Instruction").fill("make it warm")
    await expect(studio.run).to_be_enabled()
    await studio.run.click()
    if many > 50:  # above a dollar the page asks
        await studio.page.get_by_role("dialog").get_by_role("button", name="Run for $").click()
    await expect(studio.page.locator(".batch-tiles [data-job]")).to_have_count(many)
    (batch_id,) = service.made
    return batch_id


async def test_two_hundred_pictures_are_listed_and_their_results_come_three_at_a_time(
    studio: Studio, service: BatchService
) -> None:
    batch = await sent(studio, 200)
    tiles = studio.page.locator(".batch-tiles [data-job]")
    service.letting.clear()
    for job in service.items[batch]:
        service.move(job, "succeeded")
    await expect(studio.page.get_by_role("button", name="Download all")).to_be_visible()
    last = tiles.last
    await expect(last).to_contain_text("$0.02")
    await last.scroll_into_view_if_needed()
    await expect(last).to_be_in_viewport()
    await expect(last).to_contain_text("cup-199.png")
    assert service.most_under_way == 3
    service.letting.set()
    await expect(studio.page.locator(f"img[data-shows='{service.items[batch][-1]}/result'][src^='blob:']")).to_have_count(1)
    assert service.most_under_way == 3
    assert len(set(service.pictures)) < 120, "pictures out of sight were loaded"


async def test_the_first_three_are_looked_at_before_the_others_run(studio: Studio, service: BatchService) -> None:
    batch = await sent(studio, 5)
    request: Sent = service.requests("/batches")[0]
    assert json.loads(request.files["manifest"])["canary"] == 3
    service.made[batch] |= {"status": "held", "held_reason": "canary"}
    for job in service.items[batch][:3]:
        service.move(job, "succeeded")
    await expect(studio.page.locator(".batch-head")).to_contain_text("3 are ready. Look at them.")
    await expect(studio.page.locator(".batch-tiles")).to_contain_text("Waits for you")
    await studio.page.get_by_role("button", name="Run the other 2 · $0.04").click()
    await expect(studio.page.locator(".batch-head strong")).to_have_text("Running")
    assert service.counted()[f"/batches/{batch}/release"] == 1
    for job in service.items[batch][3:]:
        service.move(job, "succeeded")
    await expect(studio.page.get_by_role("button", name="Download all")).to_be_visible()


async def test_those_that_failed_run_once_more_as_a_batch_of_their_own(studio: Studio, service: BatchService) -> None:
    batch = await sent(studio, 5)
    for n, job in enumerate(service.items[batch]):
        service.move(job, "failed" if n in (1, 3) else "succeeded", error=_ERROR if n in (1, 3) else None)
    await expect(studio.page.locator(".batch-head strong")).to_have_text("Done, 2 failed")
    await studio.page.get_by_role("button", name="Retry failed").click()
    tiles = studio.page.locator(".batch-tiles [data-job]")
    await expect(tiles).to_have_count(2)
    again = list(service.made)[-1]
    assert service.made[again]["parent_id"] == batch
    await expect(tiles.first).to_contain_text("cup-1.png")
    for job in service.items[again]:
        service.move(job, "succeeded")
    await expect(studio.page.locator(".batch-head strong")).to_have_text("Done")


async def test_a_reload_in_the_middle_shows_the_same_batch(studio: Studio, service: BatchService) -> None:
    batch = await sent(studio, 6)
    for job in service.items[batch][:2]:
        service.move(job, "succeeded")
    await expect(studio.page.locator(".batch-head")).to_contain_text("2 of 6")
    await studio.page.reload()
    await studio.page.locator("#modes").get_by_role("radio", name="Batch").check()
    await expect(studio.page.locator(".batch-head")).to_contain_text("2 of 6")
    tiles = studio.page.locator(".batch-tiles [data-job]")
    await expect(tiles).to_have_count(6)
    assert [await tile.get_attribute("data-job") for tile in await tiles.all()] == service.items[batch]
    for job in service.items[batch][2:]:
        service.move(job, "succeeded")
    await expect(studio.page.get_by_role("button", name="Download all")).to_be_visible()
