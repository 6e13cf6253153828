"""Nothing is answered for a minute: the page says so, asks on, and then shows what ended meanwhile."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import web
from playwright.async_api import expect

from shared.job import API_PREFIX
from tests.studio.conftest import Studio
from tests.studio.stub import Service, problem

_MINUTE_MS = 60_000


class CutService(Service):
    """Refuses everything of the API while `dark`."""

    dark = False

    def cut(self) -> None:
        """From now on; streams end."""
        self.dark = self.streams_refused = True
        self.changed.set()

    def mend(self) -> None:
        """Everything is answered again."""
        self.dark = self.streams_refused = False

    @web.middleware
    async def script(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.dark and request.path.startswith(API_PREFIX):
            return problem(503, "overloaded", "nothing now")
        return await super().script(request, handler)


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[CutService]:
    async with CutService().listening() as service:
        yield service


async def test_an_edit_that_ended_while_nothing_was_answered_for_a_minute_is_shown_as_ended(
    studio: Studio, service: CutService
) -> None:
    studio.watch.expected = {503}
    await studio.page.clock.install()
    await studio.ready()
    await studio.run.click()
    job = await studio.job_id()
    service.move(job, "running")
    await expect(studio.page.locator("#stage")).to_contain_text("Editing")
    service.cut()
    await expect(studio.page.locator("es-connection")).to_have_text("Polling")
    service.move(job, "succeeded")
    await studio.page.clock.run_for(_MINUTE_MS)
    await expect(studio.page.locator("#stage")).to_contain_text("Editing")
    await expect(studio.page.locator("es-connection")).to_have_text("Polling")
    service.mend()
    # At the latest after half a minute it asks again.
    await studio.page.clock.run_for(_MINUTE_MS)
    await expect(studio.page.locator("es-result-bar")).to_be_visible()
    await expect(studio.page.locator("es-connection")).to_have_text("Live")
