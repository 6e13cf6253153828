"""The page on the whole system: real gateway, Redis, storage and worker, simulated providers. From the drop to the bytes."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, expect

from tests.end_to_end.stack import Stack
from tests.pictures import encoded, photo
from tests.studio.browser import Watched, watched

_SIZE = (300, 200)
_PHOTO = encoded(photo("coffee.png", _SIZE).convert("RGB"), "PNG")
_OF_ONE_PROVIDER = {
    "Qwen Image Edit": "qwen-edit",
    "Qwen Image Edit Plus": "qwen-edit-plus",
    "FLUX.1 Kontext [pro]": "flux-kontext-pro",
    "HiDream E1 Full": "hidream-e1-full",
}
_FILE = {"name": "cup.png", "mimeType": "image/png", "buffer": _PHOTO}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("studio"), latency_s=0.3) as stack:
        stack.start_worker().ready()
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser, stack: Stack) -> AsyncIterator[Watched]:
    async with watched(browser, stack.url) as watch:
        await watch.page.add_init_script(f"sessionStorage.setItem('edit-studio.key', '{stack.api_key}')")
        await watch.page.goto(f"{stack.url}/studio")
        await expect(watch.page.locator(".model-button")).to_be_visible()
        yield watch


async def prepared(page: Page, words: str, file: Any = _FILE) -> None:
    """A picture and an instruction."""
    await page.locator("es-drop-zone input[type=file]").set_input_files(file)
    await page.get_by_label("Instruction").fill(words)
    await expect(page.locator("es-run-bar .run")).to_be_enabled()


async def downloaded(page: Page, name: str = "Download") -> bytes:
    """What the button saves."""
    async with page.expect_download() as download:
        await page.get_by_role("button", name=name, exact=True).click()
    return Path(await (await download.value).path()).read_bytes()


def pixels(data: bytes) -> Image.Image:
    """The downloaded picture."""
    return Image.open(io.BytesIO(data)).convert("RGB")


async def test_one_edit_from_the_drop_to_the_bytes(watch: Watched) -> None:
    page = watch.page
    await prepared(page, "make it black and white")
    await expect(page.locator("es-recommendation")).to_contain_text("Recommended for you")
    await expect(page.locator("es-run-bar .amount")).to_have_text("Free")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("es-result-bar")).to_be_visible()
    await expect(page.get_by_label("Divider between before and after")).to_be_visible()
    picture = pixels(await downloaded(page))
    assert picture.size == _SIZE
    red, green, blue = picture.split()
    assert red.tobytes() == green.tobytes() == blue.tobytes()


async def test_a_masked_edit_changes_only_what_was_painted(watch: Watched) -> None:
    page = watch.page
    await prepared(page, "a stack of books")
    await page.get_by_role("radio", name="Inpaint").check()
    canvas = page.locator("es-mask-editor canvas")
    box = await canvas.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=5)
    await page.mouse.up()
    await expect(page.locator("es-mask-tools")).to_contain_text("will change")
    await expect(page.locator("es-run-bar .run")).to_be_enabled()
    await page.locator("es-run-bar .run").click()
    await expect(page.locator("es-result-bar")).to_be_visible()
    after, before = pixels(await downloaded(page)), pixels(_PHOTO)
    assert after.size == before.size
    assert after.getpixel((135, 100)) != before.getpixel((135, 100))
    for corner in ((2, 2), (297, 2), (2, 197), (297, 197)):
        assert all(abs(a - b) <= 2 for a, b in zip(after.getpixel(corner), before.getpixel(corner), strict=True))


async def test_four_models_on_one_picture(watch: Watched) -> None:
    page = watch.page
    await prepared(page, "terracotta")
    await page.locator("#modes").get_by_role("radio", name="Compare").check()
    for _ in range(2):
        await page.get_by_label("Add a model to compare").select_option(index=1)
    await expect(page.locator("es-run-bar .run")).to_contain_text("Run 4 models")
    await page.locator("es-run-bar .run").click()
    await expect(page.locator(".tile").get_by_role("button", name="Use ")).to_have_count(4, timeout=30_000)
    await page.locator(".tile").get_by_role("button", name="Use ").first.click()
    assert pixels(await downloaded(page)).size == _SIZE


async def test_of_four_models_one_fails_and_says_why(watch: Watched) -> None:
    page = watch.page
    # The fault strikes once for a picture at a provider: all four are of one, and large enough for each to get the same bytes.
    large = {**_FILE, "buffer": encoded(photo("coffee.png", (600, 400)).convert("RGB"), "PNG")}
    await prepared(page, "terracotta, again [[sim: moderated*1]]", large)
    await page.locator("#modes").get_by_role("radio", name="Compare").check()
    await expect(page.get_by_role("button", name="Leave out ")).to_have_count(2)
    proposed = [
        await button.get_attribute("aria-label") or "" for button in await page.get_by_role("button", name="Leave out ").all()
    ]
    for label in proposed:
        if label.removeprefix("Leave out ") not in _OF_ONE_PROVIDER:
            await page.get_by_role("button", name=label, exact=True).click()
    for name, model in _OF_ONE_PROVIDER.items():
        if f"Leave out {name}" not in proposed:
            await page.get_by_label("Add a model to compare").select_option(model)
    await page.locator("es-run-bar .run").click()
    tiles = page.locator(".tile")
    good = tiles.get_by_role("button", name="Use ")
    await expect(good).to_have_count(3, timeout=30_000)
    failed = tiles.filter(has_not=page.get_by_role("button", name="Use "))
    await expect(failed).to_have_count(1)
    await expect(failed).to_contain_text("refused")
    await good.first.click()
    assert pixels(await downloaded(page)).size == (600, 400)


async def test_a_batch_of_six_holds_after_three_goes_on_and_survives_a_reload(watch: Watched) -> None:
    page = watch.page
    await page.locator("#modes").get_by_role("radio", name="Batch").check()
    files: Any = [{**_FILE, "name": f"cup-{n}.png"} for n in range(6)]
    await page.locator("es-batch input[type=file]").set_input_files(files)
    await page.get_by_label("Instruction").fill("make it black and white")
    await expect(page.locator("es-run-bar .run")).to_be_enabled()
    await page.locator("es-run-bar .run").click()
    await expect(page.get_by_role("button", name="Run the other 3")).to_be_visible(timeout=30_000)
    await page.reload()
    await page.locator("#modes").get_by_role("radio", name="Batch").check()
    await page.get_by_role("button", name="Run the other 3").click()
    await expect(page.get_by_role("button", name="Download all")).to_be_visible(timeout=30_000)
    await expect(page.locator(".batch-tiles .tile")).to_have_count(6)
    archive = zipfile.ZipFile(io.BytesIO(await downloaded(page, "Download all")))
    assert len([name for name in archive.namelist() if name.endswith(".png")]) == 6


async def test_a_login_link_opens_the_page_once_and_leaves_the_address(browser: Browser, stack: Stack) -> None:
    file = stack.folder / "login_link"
    await asyncio.to_thread(
        stack._child("login", "", "gateway", "login", "--link-file", str(file), **stack._variables).process.wait
    )
    link = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    async with watched(browser, stack.url) as first:
        first.expected.add(404)
        await first.page.goto(link)
        await expect(first.page.locator(".model-button")).to_be_visible()
        assert first.page.url == f"{stack.url}/studio"
        assert not [url for url in first.requests if link.rpartition("=")[2] in url.partition("#")[0]]
    async with watched(browser, stack.url) as second:
        second.expected.add(401)
        await second.page.goto(link)
        await expect(second.page.get_by_role("dialog")).to_contain_text("was used already")
