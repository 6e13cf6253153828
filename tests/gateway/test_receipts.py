"""The decision receipt, and what callers say of results."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.candidates import Circumstances
from shared.edit import Operation
from shared.job import Attempt, CostLine, Course, Geometry, InputView, JobFailure, JobRecord, JobState, Selection, StoredOutput
from shared.receipt import CHOICES, choice_record
from shared.recommend import recommend
from tests.conftest import take_one
from tests.gateway.conftest import Api
from tests.pictures import samples

PNG = samples()["png"]
NOW_MS = 1_700_000_000_000
WHEN = datetime.fromtimestamp(NOW_MS / 1000, UTC)
GEOMETRY = Geometry(input=(9, 9), sent=(64, 64), received=(64, 64), delivered=(9, 9), method="scale")
LINES = (
    CostLine(attempt=1, model="qwen-edit", usd=0.02, billed=None),
    CostLine(attempt=2, model="qwen-edit", usd=0.02, billed=False),
    CostLine(attempt=3, model="qwen-edit-plus", usd=0.02, billed=True),
)
ATTEMPTS = (
    Attempt(n=1, model="qwen-edit", provider="wavespeed", started_at=WHEN, outcome="provider_error", error="no answer"),
    Attempt(n=2, model="qwen-edit", provider="wavespeed", started_at=WHEN, outcome="provider_error", error="HTTP 500"),
    Attempt(n=3, model="qwen-edit-plus", provider="wavespeed", started_at=WHEN, outcome="succeeded"),
)


async def submitted(api: Api, **fields: Any) -> str:
    wish = {"image_base64": base64.b64encode(PNG).decode(), "prompt": "make the cup blue", **fields}
    answer = await api.post("/process", json=wish)
    assert answer.status == 202, answer.json
    job_id: str = answer.json["id"]
    return job_id


async def ended(api: Api, job_id: str, state: JobState = JobState.SUCCEEDED, **fields: Any) -> JobRecord:
    """Do a worker's part: choose twice, and end the edit with the second model."""
    record = await take_one(api.leases)
    assert record.id == job_id
    catalog, everyone = api.connections.catalog, tuple(api.connections.catalog.providers)
    turns = [
        recommend(record.spec, catalog=catalog, now=Circumstances(configured=everyone, upright_size=(1024, 1024), down=down))
        for down in ((), ("qwen-edit",))
    ]
    choices = tuple(choice_record(chosen, NOW_MS + turn) for turn, chosen in enumerate(turns))
    assert await api.leases.checkpoint(record, choices=CHOICES.dump_json(choices))
    course = Course(
        model="qwen-edit-plus",
        provider="wavespeed",
        selection=Selection(mode="recommended", reason=turns[1].reason, alternatives=turns[1].alternatives),
        input=InputView(width=9, height=9, format="png", bytes=99, sha256="cd" * 32),
        adaptations=("output_format: jpeg is made here",),
        attempts=ATTEMPTS,
        lines=LINES,
        estimated_usd=0.02,
        geometry=GEOMETRY,
    )
    stored = StoredOutput(key="out/t1/0.png", width=9, height=9, format="png", bytes=99, sha256="ab" * 32)
    update = {"output": stored if state is JobState.SUCCEEDED else None, **fields}
    assert await api.leases.finish(record, state, course.model_copy(update=update), cost_micro_usd=20_000)
    return record


async def receipt_of(api: Api, job_id: str) -> Any:
    answer = await api.get(f"/jobs/{job_id}/receipt")
    assert answer.status == 200, answer.json
    return answer.json


async def test_the_receipt_tells_every_turn_price_and_picture(api: Api) -> None:
    job_id = await submitted(api, max_cost=0.5, preferences={"prioritize_cost": True})
    await ended(api, job_id)
    job = (await api.get(f"/jobs/{job_id}")).json
    assert job["selection"]["receipt_url"] == f"{api.url}/api/image-studio/edit/jobs/{job_id}/receipt"
    found = await receipt_of(api, job_id)
    assert [turn["model_id"] for turn in found["choices"]] == ["qwen-edit", "qwen-edit-plus"]
    first, second = found["choices"]
    assert first["candidates"][0]["score"] == pytest.approx(sum(first["candidates"][0]["score_breakdown"].values()))
    assert {"model_id": "qwen-edit", "code": "circuit_open", "why": "has failed too often just now"} in second["excluded"]
    assert {turn["model_id"] for turn in first["candidates"]} & {turn["model_id"] for turn in first["excluded"]} == set()
    assert found["asked"]["max_cost"] == 0.5
    assert found["asked"]["fallback"] == "auto"
    assert found["asked"]["preferences"]["prioritize_cost"] is True
    assert [attempt["outcome"] for attempt in found["attempts"]] == ["provider_error", "provider_error", "succeeded"]
    assert found["cost"] == {
        "estimated": 0.02,
        "actual": 0.02,
        "max": 0.5,
        "quoted": None,
        "budget": None,
        "lines": [line.model_dump() for line in LINES],
        "billed": 0.02,
        "unknown": 0.02,
    }
    assert found["geometry"]["delivered"] == [9, 9]
    assert found["adaptations"] == ["output_format: jpeg is made here"]
    assert (found["inputs"][0]["role"], found["inputs"][0]["sha256"]) == ("image", "cd" * 32)
    assert found["output"] == {"sha256": "ab" * 32, "width": 9, "height": 9, "format": "png", "bytes": 99}
    assert [entry["model_id"] for entry in found["catalogue"]] == ["qwen-edit", "qwen-edit-plus"]
    assert found["catalogue"][0]["price_source"] == api.connections.catalog.models["qwen-edit"].price.source
    assert (found["status"], found["error"], found["feedback"]) == ("succeeded", None, None)


async def test_an_edit_that_waits_has_a_receipt_of_what_was_asked(api: Api) -> None:
    job_id = await submitted(api, model="qwen-edit", fallback="none")
    found = await receipt_of(api, job_id)
    assert (found["status"], found["choices"], found["attempts"], found["output"]) == ("queued", [], [], None)
    assert (found["asked"]["model"], found["asked"]["fallback"]) == ("qwen-edit", "none")
    assert len(found["inputs"][0]["sha256"]) == 64
    assert found["cost"]["billed"] == found["cost"]["unknown"] == 0
    assert (await api.get(f"/jobs/{job_id}")).json["selection"] is None


async def test_a_failed_edit_has_a_receipt_with_its_end(api: Api) -> None:
    job_id = await submitted(api)
    why = JobFailure(code="moderated", message="refused", retryable=False, by="provider", stage="editing", billed=True)
    await ended(api, job_id, JobState.FAILED, error=why)
    found = await receipt_of(api, job_id)
    assert (found["status"], found["error"]["code"], found["error"]["by"]) == ("failed", "moderated", "provider")
    assert (found["output"], found["geometry"]) == (None, None)
    assert len(found["choices"]) == 2


async def test_a_canceled_edit_has_a_receipt(api: Api) -> None:
    job_id = await submitted(api)
    await api.post(f"/jobs/{job_id}/cancel")
    found = await receipt_of(api, job_id)
    assert (found["status"], found["error"], found["choices"]) == ("canceled", None, [])


async def test_the_last_feedback_counts_and_shows_in_the_receipt_only(api: Api) -> None:
    job_id = await submitted(api)
    await ended(api, job_id)
    before = await api.get(f"/jobs/{job_id}")
    said = await api.post(f"/jobs/{job_id}/feedback", json={"rating": 2, "accepted": False, "comment": "too blue"})
    assert (said.status, said.json["rating"], said.json["accepted"], said.json["comment"]) == (200, 2, False, "too blue")
    for _ in range(2):
        again = await api.post(f"/jobs/{job_id}/feedback", json={"rating": 5})
    assert (again.json["rating"], again.json["accepted"], again.json["comment"]) == (5, None, None)
    assert (await receipt_of(api, job_id))["feedback"] == again.json
    after = await api.get(f"/jobs/{job_id}")
    assert (after.body, after.headers["ETag"]) == (before.body, before.headers["ETag"])
    learned = await api.connections.experiences.look()
    seen = learned.performances("qwen-edit-plus")[Operation.GENERAL_EDIT]
    assert (seen.ratings, seen.rating_sum) == (1, 5)
    assert set((await api.connections.experiences.history("t1")).values()) <= {(0, 0)}, "what was taken back counts for nothing"


async def test_only_a_result_can_be_rated(api: Api) -> None:
    job_id = await submitted(api)
    early = await api.post(f"/jobs/{job_id}/feedback", json={"rating": 5})
    assert (early.status, early.json["code"]) == (409, "not_finished")
    await api.post(f"/jobs/{job_id}/cancel")
    late = await api.post(f"/jobs/{job_id}/feedback", json={"rating": 5})
    assert (late.status, late.json["code"]) == (409, "already_finished")
    assert (await receipt_of(api, job_id))["feedback"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"rating": 0}, "/rating"), ({"rating": 6}, "/rating"), ({"rating": 4.5}, "/rating"), ({}, "/rating"),
     ({"rating": 3, "accepted": "yes"}, "/accepted"), ({"rating": 3, "comment": "x" * 1_001}, "/comment"),
     ({"rating": 3, "stars": 3}, "/stars")],
)  # fmt: skip
async def test_bad_feedback_is_refused_with_the_field(api: Api, body: Any, pointer: str) -> None:
    answer = await api.post(f"/jobs/{await submitted(api)}/feedback", json=body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(("method", "path", "body"), [("GET", "receipt", None), ("POST", "feedback", {"rating": 5})])
async def test_another_tenants_edit_has_neither(api: Api, method: str, path: str, body: Any) -> None:
    job_id = await submitted(api)
    await ended(api, job_id)
    answer = await api.call(method, f"/jobs/{job_id}/{path}", headers=await api.key_of("t2"), json=body)
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_a_reader_may_see_the_receipt_and_not_rate(api: Api) -> None:
    job_id = await submitted(api)
    reader = await api.key_of("t1", frozenset({"read"}))
    assert (await api.get(f"/jobs/{job_id}/receipt", headers=reader)).status == 200
    refused = await api.post(f"/jobs/{job_id}/feedback", json={"rating": 5}, headers=reader)
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
