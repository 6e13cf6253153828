"""`/docs`: every operation of the document is shown, by a browser that asks nobody but the gateway."""

from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from gateway.app import all_routes
from gateway.routes import docs
from tests.studio.browser import watched


@pytest_asyncio.fixture(loop_scope="session")
async def url() -> AsyncIterator[str]:
    document = next(route for route in all_routes() if route.path == "/openapi.json")
    app = web.Application()
    docs.mount(app)
    app.router.add_get("/openapi.json", document.handler)  # type: ignore[arg-type]  # it looks at nothing of the call
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/")).rstrip("/")


async def test_the_document_is_rendered_offline(browser: Browser, url: str) -> None:
    async with watched(browser, url) as watch:
        page = watch.page
        await page.goto(f"{url}/docs")
        await expect(page.get_by_role("heading", name="Edit Studio")).to_be_visible()
        await expect(page.locator(".opblock")).to_have_count(len(all_routes()))
        await page.goto(f"{url}/docs#/edits/post_process")
        await page.locator("#operations-edits-post_process button.opblock-summary-control").click()
        await expect(page.locator("#operations-edits-post_process")).to_contain_text("idempotency_mismatch")
