"""Every error reaches OpenAI's own client as the exception that its users catch."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.end_to_end.stack import Stack
from tests.interop.openai_calls import GREY, PAID, PICTURE, client_of, make_key
from tests.servers import free_port


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"image": b"no picture"}, "image", "not_a_picture"),
        ({"image": PICTURE[:200]}, "image", "truncated_picture"),
        ({"mask": PICTURE[:200]}, "mask", "truncated_picture"),
        ({"prompt": " "}, "prompt", "missing_required_parameter"),
        ({"prompt": "x" * 8_001}, "prompt", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"size": "huge"}, "size", "invalid_value"),
        ({"size": "20000x10"}, "size", "invalid_value"),
        ({"background": "transparent"}, "background", "invalid_value"),
        ({"output_compression": 101}, "output_compression", "invalid_value"),
        ({"extra_body": {"sise": "64x64"}}, "sise", "unknown_parameter"),
        ({"image": [PICTURE] * 17}, "image", "invalid_value"),
        ({"model": "local-adjust", "prompt": "a hat"}, "prompt", "invalid_value"),
    ],
)
def test_a_bad_request(client: OpenAI, given: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(**{"image": PICTURE, "prompt": GREY, **given})
    error = caught.value
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert error.request_id
    assert error.response.headers["x-should-retry"] == "false"


def test_moderation(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=PICTURE, prompt="no [[sim: moderated]]", model=PAID)
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")


def test_a_key_that_nobody_has(openai_stack: Stack) -> None:
    with client_of(openai_stack, key="sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_key_that_may_only_read(openai_stack: Stack) -> None:
    with client_of(openai_stack, key=make_key(openai_stack, "readers", scopes=frozenset({"read"}))) as client:
        assert client.models.list().data
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.images.edit(image=PICTURE, prompt=GREY)
    assert caught.value.code == "insufficient_permissions"


def test_what_is_not_there(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.edit(image=PICTURE, prompt=GREY, model="qwen-edits")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert PAID in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-nothing")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt="a cup")
    assert unknown.value.type == "invalid_request_error"


def test_too_many_requests(openai_stack: Stack) -> None:
    with client_of(openai_stack, key=make_key(openai_stack, "hasty", submits_per_minute=1), max_retries=0) as client:
        raw = client.images.with_raw_response.edit(image=PICTURE, prompt=GREY)
        assert raw.headers["x-ratelimit-limit-requests"] == "1"
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        assert raw.headers["x-ratelimit-reset-requests"] == "1m0s"
        assert int(raw.headers["openai-processing-ms"]) > 0
        with pytest.raises(openai.RateLimitError) as caught:
            client.images.edit(image=PICTURE, prompt=GREY)
    error = caught.value
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    assert error.response.headers["x-should-retry"] == "true"
    assert 0 < int(error.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize("n", [1, 3])
def test_too_little_money_is_told_at_once_and_nothing_is_begun(openai_stack: Stack, n: int) -> None:
    """Two of the three could be paid for: none is made. The client does not try again."""
    tenant = f"poor-{n}"
    key = make_key(openai_stack, tenant, limits={"daily_limit_micro_usd": 19_000 if n == 1 else 41_000})
    with client_of(openai_stack, key=key) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.images.edit(image=PICTURE, prompt="a hat", model=PAID, n=n)
        assert client.get("../../api/image-studio/edit/jobs", cast_to=object) == {"jobs": [], "next_cursor": None}
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


def test_a_conflict(client: OpenAI) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/images/edits", "body": {"prompt": GREY}}
    file = client.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/images/edits", completion_window="24h")
    assert batch.status == "completed"  # Its only line has no picture.
    with pytest.raises(openai.ConflictError) as caught:
        client.batches.cancel(batch.id)
    assert caught.value.code == "already_finished"
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


def test_an_edit_that_fails(client: OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.edit(image=PICTURE, prompt="a hat [[sim: html]]", model=PAID)
    assert (caught.value.code, caught.value.type) == ("bad_output", "server_error")
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


def test_of_several_edits_those_that_succeeded_are_answered(client: OpenAI) -> None:
    answer = client.images.edit(image=PICTURE, prompt="a hat or none [[sim: html*1]]", model=PAID, n=2)
    assert answer.data is not None
    assert len(answer.data) == 1
    failed: Any = answer.to_dict()["failed"]
    assert [one["error"]["code"] for one in failed] == ["bad_output"]


def test_nobody_there(openai_stack: Stack) -> None:
    url = f"http://127.0.0.1:{free_port()}/openai/v1"
    nobody = OpenAI(base_url=url, api_key=openai_stack.api_key, max_retries=0)
    with nobody as client, pytest.raises(openai.APIConnectionError):
        client.images.edit(image=PICTURE, prompt=GREY)


def test_too_slow_for_its_caller(openai_stack: Stack) -> None:
    with client_of(openai_stack, timeout=0.2, max_retries=0) as client, pytest.raises(openai.APITimeoutError):
        client.images.edit(image=PICTURE, prompt="slowly", model=PAID)
