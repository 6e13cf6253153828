"""What axe finds in every state of the page, in both themes and three widths."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.studio.conftest import Studio

_THEMES = ("light", "dark")
_WIDTHS = (1440, 1100, 390)
_LOOKS = [{"color_scheme": theme, "viewport": {"width": width, "height": 900}} for theme in _THEMES for width in _WIDTHS]


async def _check(studio: Studio, state: str) -> None:
    found = (await Axe().run(studio.page)).response["violations"]
    faults = [
        (rule["id"], [node["html"][:160] + " :: " + node["failureSummary"][:300] for node in rule["nodes"]]) for rule in found
    ]
    assert not faults, f"{state}: {faults}"
    width = await studio.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width[0] <= width[1], f"{state} scrolls sideways: {width}"


@pytest.mark.parametrize("context_options", _LOOKS, ids=lambda look: f"{look['color_scheme']}-{look['viewport']['width']}")
async def test_axe_finds_nothing(studio: Studio) -> None:
    page = studio.page
    await studio.open()
    await expect(page.locator("es-recommendation")).to_contain_text("Recommended")
    await _check(studio, "empty")
    await studio.selector.click()
    await _check(studio, "selector")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Compare", exact=True).click()
    await _check(studio, "comparison")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Why this model?").click()
    await _check(studio, "why")
    await page.keyboard.press("Escape")
    await studio.add_picture()
    await page.get_by_text("More settings").click()
    await _check(studio, "picture and settings")
    await page.get_by_role("radio", name="Inpaint").check()
    await expect(page.locator("es-mask-editor canvas")).to_be_visible()
    await _check(studio, "mask")
    await page.get_by_role("radio", name="Prompt edit").check()
    await page.get_by_label("Instruction").fill("make it warm")
    await studio.run.click()
    await expect(page.locator("[data-job][data-current]")).to_have_count(1)
    job = await studio.job_id()
    await _check(studio, "waiting")
    studio.service.move(job, "succeeded")
    await expect(page.locator("es-result-bar")).to_be_visible()
    await _check(studio, "result")
    await page.locator("#modes").get_by_role("radio", name="Batch").check()
    await expect(page.locator("es-batch .drop")).to_be_visible()
    await _check(studio, "batch")
    await page.locator("#modes").get_by_role("radio", name="Compare").check()
    await expect(page.locator("#compare-block .picked-row")).not_to_have_count(0)
    await _check(studio, "compare")


async def test_one_tab_stop_each_for_modes_and_kinds_and_a_way_past_them(studio: Studio) -> None:
    await studio.open()
    await studio.page.keyboard.press("Tab")
    await expect(studio.page.get_by_text("Skip to the picture")).to_be_focused()
    await studio.page.keyboard.press("Enter")
    await expect(studio.page.locator("#stage")).to_be_focused()
    await studio.page.get_by_role("radio", name="Prompt edit").focus()
    await studio.page.keyboard.press("ArrowRight")
    await expect(studio.page.get_by_role("radio", name="Inpaint")).to_be_checked()


async def test_single_letters_are_shortcuts_only_outside_of_fields(studio: Studio) -> None:
    await studio.open()
    await studio.page.get_by_label("Instruction").fill("")
    await studio.page.get_by_label("Instruction").press_sequentially("mc2?")
    await expect(studio.page.get_by_label("Instruction")).to_have_value("mc2?")
    await expect(studio.page.locator("#modes").get_by_role("radio", name="Edit")).to_be_checked()
    await studio.page.locator("#stage").focus()
    await studio.page.keyboard.press("?")
    await expect(studio.page.get_by_role("dialog")).to_contain_text("Shortcuts")
