"""The four parts about models: selector, card, comparison, recommendation."""

import re

import pytest
from playwright.async_api import Locator, expect

from tests.studio.conftest import Studio
from tests.studio.stub import problem


async def rows(listing: Locator) -> list[str]:
    return [text.split("\n")[0] for text in await listing.all_inner_texts()]


async def test_models_are_grouped_by_tier_with_cost_features_and_the_recommended_one(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    page = studio.page
    heads = await page.locator(".model-group-head").all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == ["Auto", "Budget", "Mid", "Premium"]
    budget = page.locator("[data-group=budget] [role=option]:not([aria-disabled])")
    costs = [float(cost.replace("$", "").replace("Free", "0")) for cost in await budget.locator(".cost").all_inner_texts()]
    assert costs == sorted(costs)
    await expect(page.locator("[role=option] .star:visible")).to_have_count(1)
    await expect(page.locator("[role=option]:has(.star:visible)")).to_contain_text("Qwen Image Edit")
    await expect(page.get_by_role("option", name="ByteDance Seedream V4.5 Edit")).to_contain_text("4K")


async def test_search_and_tiers_leave_what_fits_and_can_be_cleared(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    page, search = studio.page, studio.page.get_by_role("combobox", name="Search the models")
    await search.fill("lettering")
    names = await rows(page.locator(".model-row"))
    assert names
    await page.get_by_role("button", name="Premium").click()
    await expect(page.get_by_role("button", name="Premium")).to_be_focused()
    assert set(await rows(page.locator(".model-row"))) <= set(names)
    await search.fill("no such thing")
    await expect(page.get_by_text("No model fits this search.")).to_be_visible()
    await page.get_by_role("button", name="Clear the search").click()
    await expect(page.get_by_text("35 of 35 models")).to_be_visible()


async def test_the_keyboard_moves_over_what_can_be_chosen_wraps_and_chooses(studio: Studio) -> None:
    await studio.open()
    page = studio.page
    await studio.selector.focus()
    await page.keyboard.press("ArrowDown")
    search = page.get_by_role("combobox", name="Search the models")
    await expect(search).to_be_focused()
    seen = set()
    count = await page.locator("[role=option]:not([aria-disabled])").count()
    for _ in range(count):
        await page.keyboard.press("ArrowDown")
        row = page.locator("[data-active]")
        await expect(row).to_be_in_viewport()
        assert await row.get_attribute("aria-disabled") is None
        assert await search.get_attribute("aria-activedescendant") == await row.get_attribute("id")
        seen.add(await row.get_attribute("data-id"))
    assert len(seen) == count
    await page.keyboard.type("seedream")
    await page.keyboard.press("Enter")
    await expect(page.locator(".model-pop")).to_be_hidden()
    await expect(studio.selector).to_be_focused()
    await expect(studio.selector).to_contain_text("ByteDance Seedream V4.5 Edit")


async def test_escape_clears_the_search_and_then_closes(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    await studio.page.keyboard.type("flux")
    await studio.page.keyboard.press("Escape")
    await expect(studio.page.get_by_role("combobox", name="Search the models")).to_have_value("")
    await expect(studio.page.locator(".model-pop")).to_be_visible()
    await studio.page.keyboard.press("Escape")
    await expect(studio.page.locator(".model-pop")).to_be_hidden()
    await expect(studio.selector).to_be_focused()


async def test_a_model_that_cannot_do_this_says_why_and_cannot_be_chosen(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    row = studio.page.get_by_role("option", name="Stability Erase")
    await expect(row).to_contain_text("Cannot do this kind of edit")
    await expect(row).to_have_attribute("aria-disabled", "true")
    await row.click(force=True)
    await expect(studio.page.locator(".model-pop")).to_be_visible()
    await expect(studio.selector).to_contain_text("Auto")


async def test_models_without_a_configured_provider_stand_apart(studio: Studio) -> None:
    studio.service.available = ("local",)
    await studio.open()
    await studio.selector.click()
    off = studio.page.locator("[data-group=off]")
    await expect(off.locator(".model-group-head")).to_contain_text("Not configured")
    await expect(off.get_by_role("option", name="ByteDance Seedream V4.5 Edit")).to_contain_text("Its provider is not configured")


async def test_the_card_follows_the_active_row_and_tells_everything(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    await studio.page.keyboard.type("gpt image")
    card = studio.page.locator(".model-preview")
    await expect(card).to_contain_text("$0.011–$0.25")
    await expect(card).to_contain_text("Best for")
    await expect(card).to_contain_text("Mask")
    await card.get_by_text("All prices, per picture").click()
    await expect(card.locator("tr")).to_have_count(11)


async def test_models_that_fail_to_load_leave_the_words_alone(studio: Studio) -> None:
    studio.watch.expected = {503}
    studio.service.fail("/operations", lambda: problem(503, "overloaded", "no"))
    await studio.page.add_init_script("sessionStorage.setItem('edit-studio.key', 'es_0')")
    await studio.page.goto(f"{studio.service.url}/studio")
    await studio.page.locator("es-model-selector").get_by_role("button", name="Retry").click()
    await expect(studio.selector).to_be_visible()


async def test_the_recommendation_matches_differs_is_used_and_is_dismissed(studio: Studio) -> None:
    await studio.open()
    badge = studio.page.locator("es-recommendation")
    await expect(badge).to_contain_text("Recommended for you")
    await expect(badge).to_contain_text("Lowest cost option")
    await studio.selector.click()
    await studio.page.get_by_role("option", name="FLUX.1 Kontext [max]").click()
    await expect(badge).to_contain_text("We would pick Qwen Image Edit")
    await expect(badge).to_contain_text("75 % less")
    await badge.get_by_role("button", name="Use it").click()
    await expect(studio.selector).to_contain_text("Qwen Image Edit")
    await badge.get_by_role("button", name="Dismiss the recommendation").click()
    await expect(badge).to_be_empty()
    await studio.page.get_by_label("Instruction").fill("something else")
    await expect(badge).to_be_empty()
    await studio.add_picture()
    await expect(badge).to_contain_text("Recommended for you")


async def test_why_shows_the_score_the_alternatives_and_who_is_out(studio: Studio) -> None:
    studio.service.downscale = True
    await studio.open()
    await expect(studio.page.locator("es-recommendation")).to_contain_text("works smaller than this picture")
    await studio.page.get_by_role("button", name="Why this model?").click()
    dialog = studio.page.get_by_role("dialog")
    await expect(dialog).to_contain_text("Score 120.0")
    await expect(dialog).to_contain_text("100.0")
    await dialog.get_by_text("models are out").click()
    await expect(dialog).to_contain_text("Does not do general_edit")
    await dialog.get_by_role("button", name="Use it").click()
    await expect(studio.selector).to_contain_text("ByteDance Seedream V4.5 Edit")


async def test_where_no_model_can_be_recommended_it_says_why_and_a_choice_stays_possible(studio: Studio) -> None:
    studio.watch.expected = {422}
    studio.service.fail("/recommend", lambda: problem(422, "no_capable_model", "no model takes this"), times=9)
    await studio.open()
    await expect(studio.page.locator("es-recommendation")).to_contain_text("No model takes this")
    await studio.add_picture()
    await studio.page.get_by_label("Instruction").fill("x")
    await expect(studio.page.locator("es-run-bar .why")).to_contain_text("No model takes this")
    await studio.selector.click()
    await studio.page.get_by_role("option", name="ByteDance Seedream V4.5 Edit").click()
    await expect(studio.page.locator("es-run-bar .why")).to_be_empty()


@pytest.mark.parametrize("column", ["Model", "Tier", "Cost", "Largest side", "References"])
async def test_the_comparison_sorts_both_ways(studio: Studio, column: str) -> None:
    await studio.open()
    await studio.page.keyboard.press("c")
    dialog = studio.page.get_by_role("dialog", name="Compare models")
    head = dialog.get_by_role("columnheader", name=re.compile(f"^{column}"))
    if column != "Cost":
        await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "ascending")
    up = await dialog.locator("tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "descending")
    down = await dialog.locator("tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    assert sorted(up) == sorted(down)
    assert up != down


async def test_the_comparison_filters_pins_marks_the_best_and_selects(studio: Studio) -> None:
    await studio.open()
    await studio.page.get_by_role("button", name="Compare", exact=True).click()
    page, dialog = studio.page, studio.page.get_by_role("dialog", name="Compare models")
    await expect(dialog).to_be_visible()
    all_rows = dialog.locator("tbody tr")
    able = await all_rows.count()
    await dialog.get_by_role("button", name="Can do this edit").click()
    await expect(all_rows).to_have_count(35)
    await dialog.get_by_role("button", name="Can do this edit").click()
    await dialog.get_by_role("button", name="Several references").click()
    assert 0 < await all_rows.count() < able
    await dialog.get_by_role("button", name="Several references").click()
    await dialog.get_by_label("Search the models").fill("nano banana")
    await expect(all_rows).to_have_count(1)
    await dialog.get_by_role("button", name="Pin Google Nano Banana Pro Edit Ultra").click()
    await dialog.get_by_label("Search the models").fill("")
    pinned = dialog.locator(".pinned")
    assert await pinned.count() <= 3
    await expect(pinned.filter(has_text="Nano Banana")).to_contain_text("8K ✓")
    await dialog.get_by_role("button", name="Pin FLUX.1 Kontext [pro]", exact=True).click()
    await dialog.get_by_role("button", name="Pin Step1X Edit").click()
    await expect(pinned).to_have_count(3)
    await dialog.locator("tbody").get_by_role("button", name="Select ByteDance Seedream V4.5 Edit").click()
    await expect(dialog).to_be_hidden()
    await expect(studio.selector).to_contain_text("ByteDance Seedream V4.5 Edit")
    await expect(page.get_by_role("button", name="Compare", exact=True)).to_be_focused()


@pytest.mark.parametrize("context_options", [{"viewport": {"width": 390, "height": 844}}])
async def test_on_a_phone_the_selector_is_a_sheet_inside_the_window(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    box = await studio.page.locator(".model-pop").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert box["y"] + box["height"] <= 844
    assert await studio.page.evaluate("document.documentElement.scrollWidth") <= 390
