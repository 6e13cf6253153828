"""One edit, from the drop to the download; what is sent for it, and what is said when it cannot be."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.studio.conftest import Studio
from tests.studio.stub import PNG, problem


async def test_a_picture_is_edited_and_downloaded(studio: Studio) -> None:
    await studio.ready()
    page, service = studio.page, studio.service
    await expect(page.locator("es-recommendation")).to_contain_text("Lowest cost option")
    await expect(page.locator("es-run-bar")).to_contain_text("$0.02")
    await studio.run.click()
    job = await studio.job_id()
    await expect(page.locator("es-job-list")).to_contain_text("Waiting for a worker, place 3")
    service.move(job, "running", progress={"eta_s": 6})
    await expect(page.locator("#stage")).to_contain_text("about 6 s left")
    service.move(job, "succeeded")
    await expect(page.locator("es-result-bar")).to_contain_text("$0.02")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    assert Path(await (await download.value).path()).read_bytes() == PNG


async def test_the_request_holds_the_picture_the_words_and_no_model_when_the_service_chooses(studio: Studio) -> None:
    await studio.ready("make it warm")
    await studio.run.click()
    await studio.job_id()
    (sent,) = studio.service.requests("/process")
    sent.body.pop("quote_id", None)
    assert sent.body == {"operation": "general_edit", "prompt": "make it warm", "preferences": {"prioritize_cost": True}}
    assert sent.files == {"image": PNG}
    assert sent.headers["Authorization"].startswith("Bearer es_")


async def test_the_chosen_model_its_options_and_the_quote_go_with_the_run(studio: Studio) -> None:
    studio.service.quote_usd = 0.055
    await studio.ready()
    await studio.selector.click()
    await studio.page.get_by_role("option", name="FLUX.1 Kontext [max]").click()
    await studio.page.get_by_text("More settings").click()
    await studio.page.get_by_role("spinbutton", name="Guidance scale").fill("4")
    await expect(studio.page.locator("es-run-bar")).to_contain_text("$0.055")
    await expect(studio.page.locator("es-run-bar")).to_contain_text("9–14 s")
    await studio.run.click()
    await studio.job_id()
    (sent,) = studio.service.requests("/process")
    assert sent.body["model"] == "flux-kontext-max"
    assert sent.body["options"] == {"guidance_scale": 4}
    assert sent.body["quote_id"] == "quote_1"
    assert "preferences" not in sent.body


async def test_two_fast_clicks_are_one_edit(studio: Studio) -> None:
    await studio.ready()
    await studio.run.dblclick()
    await studio.job_id()
    assert len(studio.service.requests("/process")) == 1


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(studio: Studio) -> None:
    studio.watch.expected = {409}
    await studio.ready()
    studio.service.fail("/process", lambda: problem(409, "idempotency_in_flight", "wait"))
    await studio.run.click()
    await studio.job_id()
    first, second = studio.service.requests("/process")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert second.files == {"image": PNG}


async def test_a_fault_of_a_field_stands_below_it_and_gets_the_focus(studio: Studio) -> None:
    studio.watch.expected = {422}
    await studio.ready()
    errors = [{"pointer": "/prompt", "code": "invalid_value", "message": "say it in other words"}]
    studio.service.fail("/process", lambda: problem(422, "validation_failed", "say it in other words", errors=errors))
    await studio.run.click()
    field = studio.page.get_by_label("Instruction")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await expect(studio.page.locator("es-instruction .fault")).to_have_text(["say it in other words", ""])
    await expect(field).to_have_value("make it warm")


async def test_too_many_requests_count_down_and_then_run_again(studio: Studio) -> None:
    studio.watch.expected = {429}
    await studio.ready()

    def busy() -> web.StreamResponse:
        answer = problem(429, "rate_limited", "too many requests")
        answer.headers["Retry-After"] = "2"
        return answer

    studio.service.fail("/process", busy)
    await studio.run.click()
    await expect(studio.page.locator("es-run-bar .why")).to_contain_text("Again in")
    await expect(studio.page.locator("es-run-bar .why")).to_be_empty()
    await studio.run.click()
    await studio.job_id()


async def test_without_a_key_it_is_asked_for_and_never_put_into_an_address(studio: Studio) -> None:
    page = studio.page
    await page.goto(f"{studio.service.url}/studio")
    await page.get_by_label("Key", exact=True).fill("es_123456789012345678901234")
    await page.get_by_role("button", name="Use this key").click()
    await expect(studio.selector).to_be_visible()
    assert not [url for url in studio.watch.requests if "es_1" in url]
    assert await page.evaluate("localStorage.length") == 0 or "es_1" not in await page.evaluate("JSON.stringify(localStorage)")


async def test_a_refused_key_opens_the_dialog_and_loses_nothing(studio: Studio) -> None:
    studio.watch.expected = {401}
    await studio.ready()
    studio.service.fail("/process", lambda: problem(401, "unauthorized", "the API key is unknown or revoked"))
    await studio.run.click()
    await expect(studio.page.get_by_role("dialog")).to_contain_text("the API key is unknown or revoked")
    await studio.page.keyboard.press("Escape")
    await expect(studio.page.get_by_label("Instruction")).to_have_value("make it warm")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"}, "notes.txt is not a picture"),
        ({"name": "broken.png", "mimeType": "image/png", "buffer": PNG[:60]}, "broken.png cannot be shown here"),
    ],
)
async def test_what_cannot_be_edited_is_refused_by_name_and_never_sent(studio: Studio, file: dict[str, Any], words: str) -> None:
    await studio.open()
    await studio.page.locator("es-drop-zone input[type=file]").set_input_files(file)
    await expect(studio.page.get_by_role("alert")).to_contain_text(words)
    assert studio.service.requests("/process") == []
    await expect(studio.page.locator("es-run-bar .why")).to_have_text("Add a picture to continue")


async def test_a_file_that_is_too_large_is_refused_before_it_is_read(studio: Studio, tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    file.write_bytes(PNG)
    os.truncate(file, 21 << 20)
    await studio.open()
    await studio.page.locator("es-drop-zone input[type=file]").set_input_files(file)
    await expect(studio.page.get_by_role("alert")).to_contain_text("large.png has 21 MB; at most 20 MB")
    assert studio.service.requests("/process") == []


async def test_pictures_are_dropped_and_pasted_too(studio: Studio) -> None:
    await studio.open()
    transfer = """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'dropped.png', {type: 'image/png'})); return data; }"""
    handle = await studio.page.evaluate_handle(transfer, list(PNG))
    await studio.page.dispatch_event("#stage", "drop", {"dataTransfer": handle})
    await expect(studio.page.locator(".stage-about")).to_contain_text("dropped.png")
    paste = """bytes => { const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([new Uint8Array(bytes)], 'pasted.png', {type: 'image/png'}));
        document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true})); }"""
    await studio.page.evaluate(paste, list(PNG))
    await expect(studio.page.locator(".stage-about")).to_contain_text("pasted.png")


async def test_a_failed_edit_says_why_is_not_charged_and_offers_the_next(studio: Studio) -> None:
    await studio.ready()
    await studio.run.click()
    job = await studio.job_id()
    error = {"code": "provider_error", "message": "the provider had a passing fault", "retryable": True}
    error |= {"by": "provider", "stage": "editing", "billed": False}
    other = {"model_id": "seedream-v4.5-edit", "name": "ByteDance Seedream V4.5 Edit", "cost": 0.04, "reason": "x"}
    selection = {"mode": "recommended", "reason": "x", "alternatives": [other]}
    studio.service.move(job, "failed", error=error, selection=selection)
    stage = studio.page.locator("#stage")
    await expect(stage).to_contain_text("The provider had a passing fault. It was not charged.")
    await stage.get_by_role("button", name="Use ByteDance Seedream V4.5 Edit").click()
    await expect(studio.page.locator(f"[data-job='{job}'][data-current]")).to_have_count(0)
    (sent,) = studio.service.requests(f"/jobs/{job}/retry")
    assert sent.body == {"model": "seedream-v4.5-edit"}
    assert sent.headers["Idempotency-Key"]


async def test_a_refusal_by_the_providers_rules_is_not_tried_again(studio: Studio) -> None:
    await studio.ready()
    await studio.run.click()
    job = await studio.job_id()
    error = {"code": "moderated", "message": "refused", "retryable": True, "by": "provider", "stage": "editing", "billed": False}
    studio.service.move(job, "failed", error=error, provider="acme")
    await expect(studio.page.locator("#stage")).to_contain_text("Acme refused this picture or instruction")
    await expect(studio.page.locator("#stage").get_by_role("button", name="Try again")).to_be_hidden()


async def test_the_last_model_is_there_after_a_reload_and_one_that_is_gone_is_told_in_a_line(studio: Studio) -> None:
    await studio.open()
    await studio.selector.click()
    await studio.page.get_by_role("option", name="FLUX.1 Kontext [max]").click()
    await studio.page.reload()
    await expect(studio.selector).to_contain_text("FLUX.1 Kontext [max]")
    studio.service.available = ()
    await studio.page.reload()
    await expect(studio.selector).to_contain_text("Auto")
    await expect(studio.page.locator("#model-block > .notice")).to_contain_text("so Auto chooses")
    assert await studio.page.evaluate("localStorage.getItem('edit-studio.model')") == "flux-kontext-max"


async def test_a_run_above_what_is_left_is_blocked_and_a_cheaper_model_offered(studio: Studio) -> None:
    studio.service.spending = {"limit": 10, "spent": 9.95, "reserved": 0, "left": 0.05}
    await studio.ready()
    await expect(studio.page.locator("es-budget")).to_contain_text("$0.05 left")
    await expect(studio.page.locator("es-budget .bar-meter")).to_have_class("bar-meter red")
    await studio.selector.click()
    await studio.page.get_by_role("option", name="FLUX.1 Kontext [max]").click()
    await expect(studio.page.locator("es-run-bar .why")).to_contain_text("Only $0.05 left this month.")
    await studio.page.keyboard.press("Control+Enter")
    assert studio.service.requests("/process") == []
    await studio.page.locator("es-run-bar .why button").click()
    await expect(studio.page.locator("es-run-bar .why")).to_be_empty()


async def test_a_dear_run_is_asked_about_once(studio: Studio) -> None:
    await studio.ready()
    await studio.page.get_by_text("More settings").click()
    await studio.page.get_by_label("Ask before a run").fill("0.01")
    await studio.run.click()
    await expect(studio.page.get_by_role("dialog")).to_contain_text("It costs about $0.02")
    await studio.page.get_by_role("button", name="Not now").click()
    assert studio.service.requests("/process") == []
    await studio.run.click()
    await studio.page.get_by_role("button", name="Run for $0.02").click()
    await studio.job_id()


async def test_a_service_that_does_not_answer_is_said_and_can_be_asked_again(studio: Studio) -> None:
    studio.watch.expected = {503}
    studio.service.fail("/models", lambda: problem(503, "store_unavailable", "the job store does not answer"))
    await studio.page.add_init_script("sessionStorage.setItem('edit-studio.key', 'es_0')")
    await studio.page.goto(f"{studio.service.url}/studio")
    await expect(studio.page.locator("#stage")).to_contain_text("did not say what it can do")
    await studio.page.locator("#stage").get_by_role("button", name="Retry").click()
    await expect(studio.selector).to_be_visible()


async def test_first_use_is_few_requests_and_nothing_is_printed_as_json(studio: Studio) -> None:
    await studio.open()
    await studio.page.wait_for_load_state("load")
    await expect(studio.page.locator(".sample img")).to_have_count(2)
    assert len(studio.watch.requests) <= 45, json.dumps(studio.watch.requests, indent=1)
    assert "{" not in await studio.page.inner_text("body")
