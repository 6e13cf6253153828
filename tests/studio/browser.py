"""A real Chromium from the system's packages, and a watch over what a page may not do."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

CHROMIUM = os.environ.get("EDIT_STUDIO_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 10_000
expect.set_options(timeout=WAIT_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser; the test is skipped where there is none, unless EDIT_STUDIO_REQUIRE_BROWSER is 1."""
    if CHROMIUM is None:
        reason = "there is no chromium: install the system's package, or name one in EDIT_STUDIO_CHROMIUM"
        if os.environ.get("EDIT_STUDIO_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """A page, and whatever was wrong with it: console errors, reports of the policy, requests to strangers."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.bytes: dict[str, int] = {}
        #: Statuses that the test itself asked for; the browser writes each to its console.
        self.expected: set[int] = set()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"{error}"))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        status = re.search(r"status of (\d+)", message.text)
        if status and int(status[1]) in self.expected:
            return
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text} {message.location}")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme != "blob" and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"a request to a stranger: {request.url}")

    def check(self) -> None:
        """Nothing was wrong."""
        assert not self.faults, "\n".join(self.faults)


@asynccontextmanager
async def watched(browser: Browser, origin: str, **context: Any) -> AsyncIterator[Watched]:
    """A page with a context of its own that must end without faults."""
    options: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce", **context}
    made = await browser.new_context(**options)
    try:
        found = Watched(await made.new_page(), origin)
        yield found
        found.check()
    finally:
        await made.close()


async def body_bytes(response: Response) -> int:
    """The length of a response's body."""
    return len(await response.body())
