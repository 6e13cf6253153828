"""Pictures of the page for the README: `python -m tests.studio.screenshots FOLDER URL KEY`.

URL and KEY: of a running `edit-studio up --simulate`.
"""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.studio.browser import chromium

_WIDTHS = {"desktop": (1440, 900), "phone": (390, 844)}


async def main(folder: Path, url: str, key: str) -> None:
    """Every view, in both widths and both themes."""
    folder.mkdir(parents=True, exist_ok=True)
    async with chromium() as browser:
        for theme in ("light", "dark"):
            for name, (width, height) in _WIDTHS.items():
                await _views(browser, folder, f"{name}-{theme}", url, key, theme=theme, width=width, height=height)


async def _views(browser: Browser, folder: Path, name: str, url: str, key: str, *, theme: str, width: int, height: int) -> None:
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.add_init_script(f"sessionStorage.setItem('edit-studio.key', '{key}')")
    await page.goto(f"{url}/studio")
    await page.locator(".sample").first.click()
    await page.get_by_label("Instruction").fill("Warm terracotta backdrop, late-afternoon window light")
    await expect(page.locator("es-run-bar .run")).to_be_enabled()
    await page.locator(".model-button").click()
    await _save(page, folder / f"models-{name}.png")
    await page.keyboard.press("Escape")
    await page.locator("es-run-bar .run").click()
    await expect(page.locator("es-result-bar")).to_be_visible(timeout=30_000)
    await page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    await _save(page, folder / f"edit-{name}.png")
    await page.locator("#model-block").get_by_role("button", name="Compare").click()
    await _save(page, folder / f"comparison-{name}.png")
    await page.keyboard.press("Escape")
    await page.locator("#modes").get_by_role("radio", name="Compare").check()
    for index in (4, 8):
        await page.get_by_label("Add a model to compare").select_option(index=index)
    await page.locator("es-run-bar .run").click()
    await expect(page.locator(".tile").get_by_role("button", name="Use ")).to_have_count(4, timeout=60_000)
    await page.evaluate("scrollTo(0, 0)")
    await _save(page, folder / f"compare-{name}.png")
    await context.close()


async def _save(page: Page, path: Path) -> None:
    # Pictures that are on their way would be missing.
    await page.wait_for_timeout(800)
    await page.screenshot(path=path)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
