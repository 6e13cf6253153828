"""OpenAI's own client tries again by itself; whatever is lost on the way, one call makes and pays one edit."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.end_to_end.lossy_proxy import LossyProxy, lossy_proxy
from tests.end_to_end.stack import Stack
from tests.interop.openai_calls import GREY, PAID, PICTURE, base_url, client_of, edits_of, paid_calls, picture_of

_OK = b"HTTP/1.1 200"


def through(stack: Stack, proxy: LossyProxy, **options: Any) -> AsyncOpenAI:
    """The official client, its requests going through the proxy."""
    return AsyncOpenAI(base_url=base_url(stack, port=proxy.port), api_key=stack.api_key, **options)


def losing_an_answer() -> Callable[[bytes, bytes], bool]:
    return lambda _, answer: answer.startswith(_OK)


@pytest.mark.parametrize("n", [1, 2])
async def test_an_answer_that_is_lost_is_asked_for_again_and_not_paid_again(openai_stack: Stack, n: int) -> None:
    prompt = f"lost once, {n}"
    port = int(openai_stack.url.rpartition(":")[2])
    async with lossy_proxy(port, losing_an_answer()) as proxy, through(openai_stack, proxy) as client:
        raw = await client.images.with_raw_response.edit(image=PICTURE, prompt=prompt, model=PAID, n=n)
    assert proxy.lost.is_set()
    assert raw.retries_taken == 1
    answer: Any = raw.parse()
    made = {job["id"] for job in edits_of(openai_stack, prompt)}
    assert {one.edit_studio["id"] for one in answer.data} == made
    assert len(made) == n
    assert paid_calls(openai_stack, prompt) == n


def test_a_client_that_loses_patience_finds_the_edit_that_it_began(openai_stack: Stack) -> None:
    """The simulator takes 0.5 s, the client waits for less."""
    prompt = "with little patience"
    with client_of(openai_stack, timeout=0.35, max_retries=10) as client:
        raw = client.images.with_raw_response.edit(image=PICTURE, prompt=prompt, model=PAID)
    assert raw.retries_taken > 0
    answer: Any = raw.parse()
    assert picture_of(answer.data[0].b64_json)
    assert len(edits_of(openai_stack, prompt)) == 1
    assert paid_calls(openai_stack, prompt) == 1


def test_calls_that_are_no_retries_are_new_ones(openai_stack: Stack) -> None:
    prompt = "twice on purpose"
    with client_of(openai_stack) as client:
        for _ in range(2):
            client.images.edit(image=PICTURE, prompt=prompt, model=PAID)
    assert len(edits_of(openai_stack, prompt)) == paid_calls(openai_stack, prompt) == 2


def test_a_key_of_ones_own_says_more_than_the_count(openai_stack: Stack) -> None:
    prompt = "under a key"
    with client_of(openai_stack, default_headers={"Idempotency-Key": "order-1"}) as client:
        for _ in range(2):
            client.images.edit(image=PICTURE, prompt=prompt, model=PAID)
    assert len(edits_of(openai_stack, prompt)) == paid_calls(openai_stack, prompt) == 1


async def test_a_stream_that_did_not_begin_is_asked_for_again(openai_stack: Stack) -> None:
    prompt = "a stream, lost once"
    port = int(openai_stack.url.rpartition(":")[2])
    async with lossy_proxy(port, losing_an_answer()) as proxy, through(openai_stack, proxy) as client:
        stream = await client.images.edit(image=PICTURE, prompt=prompt, model=PAID, stream=True)
        events = [event.type async for event in stream]
    assert proxy.lost.is_set()
    assert events == ["image_edit.completed"]
    assert len(edits_of(openai_stack, prompt)) == paid_calls(openai_stack, prompt) == 1


async def test_a_batch_whose_answer_is_lost_is_begun_once(openai_stack: Stack) -> None:
    with client_of(openai_stack) as direct:
        picture = direct.files.create(file=PICTURE, purpose="vision")
        body = {"prompt": GREY, "image": {"file_id": picture.id}}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/images/edits", "body": body}
        file = direct.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        port = int(openai_stack.url.rpartition(":")[2])
        async with lossy_proxy(port, losing_an_answer()) as proxy, through(openai_stack, proxy) as client:
            batch = await client.batches.create(input_file_id=file.id, endpoint="/v1/images/edits", completion_window="24h")
        assert proxy.lost.is_set()
        assert [one.id for one in direct.batches.list() if one.input_file_id == file.id] == [batch.id]
