"""The page as people need it: forced colours, 320 pixels, no movement, fingers."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.studio.conftest import Studio

_LOOKS = [
    pytest.param({"forced_colors": "active"}, id="forced colours"),
    pytest.param({"viewport": {"width": 320, "height": 640}}, id="320 pixels"),
    pytest.param({"reduced_motion": "reduce"}, id="no movement"),
    pytest.param({"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}, id="fingers"),
]


async def _check(studio: Studio, state: str) -> None:
    found = (await Axe().run(studio.page)).response["violations"]
    faults = [(rule["id"], [node["html"][:160] for node in rule["nodes"]]) for rule in found]
    assert not faults, f"{state}: {faults}"
    page, window = await studio.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert page <= window, f"{state} scrolls sideways: {page} in {window}"


@pytest.mark.parametrize("context_options", _LOOKS)
async def test_an_edit_is_run_and_seen(studio: Studio) -> None:
    await studio.ready()
    await _check(studio, "ready")
    await studio.run.scroll_into_view_if_needed()
    await expect(studio.run).to_be_in_viewport(ratio=1)
    await studio.run.click()
    job = await studio.job_id()
    await _check(studio, "waiting")
    studio.service.move(job, "succeeded")
    await expect(studio.page.locator("es-result-bar")).to_be_visible()
    await _check(studio, "result")


async def test_nothing_moves_where_movement_is_not_wanted(studio: Studio) -> None:
    await studio.ready()
    await studio.run.click()
    studio.service.move(await studio.job_id(), "running")
    await expect(studio.page.locator("#stage")).to_contain_text("Editing")
    endless = (
        "document.getAnimations().filter((one) => one.playState === 'running' && one.effect.getTiming().iterations === Infinity)"
    )
    assert await studio.page.evaluate(f"{endless}.map((one) => one.animationName)") == []
