"""What gateway and worker log of edits: the ids to find all lines of one, and never a caller's words."""

import json
import logging
from typing import Any

import pytest

from shared.log import log_under_too, logging_under, start_logging
from tests.conftest import make_job
from tests.gateway.conftest import Api
from tests.shared.test_log import quiet_loggers
from tests.telemetry.whole_service import PROMPT, PROVIDER_KEY, Hook, gateway_settings, hook, run_edit

__all__ = ["gateway_settings", "hook", "quiet_loggers"]


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("quiet_loggers")
async def test_lines_have_their_ids_and_no_prompt_no_key_and_no_link(
    api: Api, hook: Hook, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging("DEBUG")
    jobs = {}
    for number, faults in enumerate(("", " [[sim: moderated]]", " [[sim: 400]]", " [[sim: html]]")):
        headers = {"X-Request-Id": f"request-{number}"}
        jobs[f"request-{number}"] = await run_edit(api, hook, PROMPT + faults, headers=headers, model="qwen-edit")
    text = capsys.readouterr().err
    for secret in (PROMPT, "teapot", api.key, PROVIDER_KEY, hook.url, "X-Amz"):
        assert secret not in text, secret
    lines = lines_of(text)
    for request_id, job in jobs.items():
        whole = {"request_id": request_id, "job_id": job["id"], "tenant": "t1"}
        own = [line for line in lines if line.get("request_id") == request_id]
        (access,) = [line for line in own if line["logger"] == "gateway.access"]
        assert whole.items() <= access.items()
        assert access["path"] == "/api/image-studio/edit/process"
        done = [line for line in own if line["logger"].startswith("worker.")]
        assert "chose a model" in {line["message"] for line in done}
        assert all(whole.items() <= line.items() for line in done)
    assert {line["message"] for line in lines} >= {"an edit succeeded", "an edit failed"}


@pytest.mark.usefixtures("quiet_loggers")
async def test_a_record_that_cannot_be_read_is_told_without_what_is_in_it(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    record = (await api.connections.jobs.accept(make_job())).record
    redis: Any = api.connections.jobs._scripts.redis
    good = await redis.hget(f"job:{record.id}", "spec")
    await redis.hset(f"job:{record.id}", "spec", json.dumps({"prompt": PROMPT, "operation": PROMPT}))
    start_logging("DEBUG")
    assert await api.leases.take("w1", nonce="n", want=1) == []
    text = capsys.readouterr().err
    await redis.hset(f"job:{record.id}", "spec", good)
    (line,) = [line for line in lines_of(text) if line["logger"] == "shared.store.leases"]
    assert line["job_id"] == record.id
    assert "ValidationError" in line["exception"]
    assert "teapot" not in text


@pytest.mark.usefixtures("quiet_loggers")
def test_ids_hold_for_their_block_and_what_is_known_later_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    log = logging.getLogger("test")
    with logging_under(request_id="r", job_id=""):
        log.info("1")
        log_under_too(tenant="t")
        log.info("2")
        with logging_under(job_id="j"):
            log.info("3", extra={"job_id": "another"})
    log.info("4")
    lines = lines_of(capsys.readouterr().err)
    ids = [{name: line[name] for name in ("request_id", "tenant", "job_id") if name in line} for line in lines]
    assert ids == [{"request_id": "r"}, {"request_id": "r", "tenant": "t"}, {"job_id": "another"}, {}]
