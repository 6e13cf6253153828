"""News of edits: by stream, by polling where that does not hold, and never backwards. And the divider."""

from playwright.async_api import expect

from tests.studio.conftest import Studio


async def started(studio: Studio) -> str:
    await studio.ready()
    await studio.run.click()
    return await studio.job_id()


async def test_a_refused_stream_is_polling_and_the_edit_still_ends(studio: Studio) -> None:
    studio.watch.expected = {503}
    studio.service.streams_refused = True
    job = await started(studio)
    await expect(studio.page.locator("es-connection")).to_have_text("Polling")
    studio.service.move(job, "succeeded")
    await expect(studio.page.locator("es-result-bar")).to_be_visible()
    await expect(studio.page.locator("es-connection")).to_have_text("Live")


async def test_a_stream_that_ends_early_is_taken_up_where_it_ended(studio: Studio) -> None:
    studio.watch.expected = {503}
    job = await started(studio)
    studio.service.move(job, "running")
    await expect(studio.page.locator("#stage")).to_contain_text("Editing")
    studio.service.streams_refused = True
    studio.service.changed.set()
    await expect(studio.page.locator("es-connection")).to_have_text("Polling")
    studio.service.streams_refused = False
    await expect(studio.page.locator("es-connection")).to_have_text("Live")
    assert studio.service.last_event_ids[0] is None
    assert studio.service.last_event_ids[-1] == "2"
    studio.service.move(job, "succeeded")
    await expect(studio.page.locator("es-result-bar")).to_be_visible()


async def test_a_reload_in_the_middle_loses_nothing(studio: Studio) -> None:
    job = await started(studio)
    studio.service.move(job, "running")
    await studio.page.reload()
    await expect(studio.page.get_by_label("Instruction")).to_have_value("make it warm")
    row = studio.page.locator(f"[data-job='{job}']")
    await expect(row).to_contain_text("Editing")
    await row.locator(".open").click()
    studio.service.move(job, "succeeded")
    await expect(studio.page.locator("es-result-bar")).to_be_visible()
    await expect(studio.page.get_by_label("Divider between before and after")).to_be_visible()


async def test_a_running_edit_can_be_stopped(studio: Studio) -> None:
    job = await started(studio)
    studio.service.move(job, "running")
    await studio.page.locator("#stage").get_by_role("button", name="Stop").click()
    await expect(studio.page.locator("#stage")).to_contain_text("The edit was stopped; not charged.")
    await expect(studio.page.locator("#said")).to_contain_text("stopped")


async def test_keys_move_the_divider_and_it_says_where_it_is(studio: Studio) -> None:
    job = await started(studio)
    studio.service.move(job, "succeeded")
    divider = studio.page.get_by_label("Divider between before and after")
    await expect(divider).to_have_attribute("aria-valuetext", "46 percent before")
    await divider.focus()
    for key, words in (("ArrowRight", "47"), ("PageUp", "57"), ("PageDown", "47"), ("End", "100"), ("Home", "0")):
        await studio.page.keyboard.press(key)
        await expect(divider).to_have_attribute("aria-valuetext", f"{words} percent before")


async def test_models_are_compared_on_one_picture_and_one_that_fails_leaves_the_others(studio: Studio) -> None:
    studio.watch.expected = {404}
    await studio.ready()
    await studio.page.locator("#modes").get_by_role("radio", name="Compare").check()
    await studio.page.get_by_label("Add a model to compare").select_option(index=1)
    await expect(studio.run).to_contain_text("Run 3 models")
    await studio.run.click()
    tiles = studio.page.locator(".tile")
    await expect(tiles).to_have_count(3)
    await expect(studio.page.locator("[data-job]")).to_have_count(3)
    first, second, third = studio.service.jobs
    error = {"code": "provider_error", "message": "no", "retryable": True, "by": "provider", "stage": "editing", "billed": False}
    studio.service.move(second, "failed", error=error)
    studio.service.move(first, "succeeded")
    studio.service.move(third, "succeeded", finished_at="2026-01-02T03:04:06.000Z")
    await expect(tiles.get_by_role("button", name="Use ")).to_have_count(2)
    await expect(tiles.get_by_role("button", name="Try again")).to_have_count(1)
    await tiles.get_by_role("button", name="Use ").first.click()
    await expect(studio.page.locator("es-result-bar")).to_be_visible()
    await expect(studio.selector).not_to_contain_text("Auto")
    assert studio.service.counted()[f"/jobs/{first}/feedback"] + studio.service.counted()[f"/jobs/{third}/feedback"] == 1
