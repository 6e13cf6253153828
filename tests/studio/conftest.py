"""The page against the scripted service, in a browser."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.studio.browser import Watched, chromium, watched
from tests.studio.stub import PNG, Service

KEY = "es_000000000000000000000000"
CUP = {"name": "cup.png", "mimeType": "image/png", "buffer": PNG}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all of a process: a browser belongs to the loop that it was started in, and a start costs seconds."""
    for item in filter(pytest_asyncio.is_async_test, items):
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests; each has a context of its own."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def service() -> AsyncIterator[Service]:
    async with Service().listening() as service:
        yield service


@dataclass
class Studio:
    """The open page, and the service behind it."""

    page: Page
    service: Service
    watch: Watched

    async def open(self) -> None:
        """Load the page with a key in the tab."""
        await self.page.add_init_script(f"sessionStorage.setItem('edit-studio.key', '{KEY}')")
        await self.page.goto(f"{self.service.url}/studio")
        await expect(self.selector).to_be_visible()

    async def add_picture(self, **file: Any) -> None:
        """Choose a picture and see it on the stage."""
        await self.page.locator("es-drop-zone input[type=file]").set_input_files({**CUP, **file})
        await expect(self.page.locator(".stage-about")).to_contain_text(str(file.get("name", "cup.png")))

    async def ready(self, words: str = "make it warm") -> None:
        """A picture and an instruction: everything that a run needs."""
        await self.open()
        await self.add_picture()
        await self.page.get_by_label("Instruction").fill(words)
        await expect(self.run).to_be_enabled()

    @property
    def selector(self) -> Locator:
        return self.page.locator(".model-button")

    @property
    def run(self) -> Locator:
        return self.page.locator("es-run-bar .run")

    async def job_id(self) -> str:
        """The edit that the page shows."""
        row = self.page.locator("[data-job][data-current]")
        await expect(row).to_have_count(1)
        return str(await row.get_attribute("data-job"))


@pytest.fixture
def context_options() -> dict[str, Any]:
    """More for the browser's context; parametrize it to change the window or the theme."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def studio(browser: Browser, service: Service, context_options: dict[str, Any]) -> AsyncIterator[Studio]:
    async with watched(browser, service.url, **context_options) as watch:
        yield Studio(watch.page, service, watch)
