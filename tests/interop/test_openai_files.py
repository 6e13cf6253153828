"""Files and batches by OpenAI's own client: uploaded, run, downloaded."""

import base64
import json
import time
from typing import Any, get_args

import openai
import pytest
from openai import OpenAI
from openai.types import Batch, FileObject

from tests.end_to_end.stack import Stack
from tests.interop.openai_calls import GREY, PICTURE, SIZE, client_of, make_key, picture_of

_ENDED_S = 60.0
_LOOK_S = 0.05


def line(custom_id: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/images/edits", "body": body}


def begin(client: OpenAI, lines: list[Any], **options: Any) -> Batch:
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    file = client.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/images/edits", completion_window="24h", **options)


def ended(client: OpenAI, batch: Batch) -> Batch:
    deadline = time.monotonic() + _ENDED_S
    while batch.status in ("in_progress", "cancelling", "finalizing"):
        assert time.monotonic() < deadline, batch
        time.sleep(_LOOK_S)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(client: OpenAI, file_id: str | None) -> list[Any]:
    """The lines of an output; as many bytes as it said."""
    assert file_id is not None
    content = client.files.content(file_id).read()
    file = client.files.retrieve(file_id)
    assert (file.bytes, file.purpose) == (len(content), "batch_output")
    return [json.loads(text) for text in content.splitlines()]


def test_a_file_is_uploaded_listed_read_and_deleted(client: OpenAI) -> None:
    made = [client.files.create(file=(f"{n}.bin", f"file {n}".encode()), purpose="user_data") for n in range(3)]
    assert isinstance(made[0], FileObject)
    assert (made[1].filename, made[1].bytes, made[1].purpose, made[1].status) == ("1.bin", 6, "user_data", "processed")
    assert [file.id for file in client.files.list(purpose="user_data", limit=2)] == [file.id for file in reversed(made)]
    ordered = client.files.list(purpose="user_data", order="asc", after=made[0].id, limit=1)
    assert (ordered.data[0].id, ordered.has_more) == (made[1].id, True)
    assert client.files.content(made[2].id).read() == b"file 2"
    assert client.files.delete(made[2].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(made[2].id)
    with pytest.raises(openai.NotFoundError):
        client.files.delete(made[2].id)


def test_a_picture_that_was_used_can_still_be_read(client: OpenAI) -> None:
    file = client.files.create(file=PICTURE, purpose="vision")
    client.post("/images/edits", body={"prompt": GREY, "image": {"file_id": file.id}}, cast_to=object)
    assert client.files.content(file.id).read() == PICTURE
    assert client.files.delete(file.id).deleted


def test_files_of_another_tenant_do_not_exist(client: OpenAI, openai_stack: Stack) -> None:
    file = client.files.create(file=b"mine", purpose="user_data")
    with client_of(openai_stack, key=make_key(openai_stack, "stranger")) as stranger:
        assert not stranger.files.list().data
        for look in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
            with pytest.raises(openai.NotFoundError):
                look(file.id)
    assert client.files.retrieve(file.id).bytes == 4


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"file": b"", "purpose": "batch"}, "file"),
        ({"file": b"x", "purpose": "poetry"}, "purpose"),
        ({"file": b"x", "purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 10}}, "expires_after"),
        ({"file": b"x", "purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 2_592_000}}, "expires_after"),
    ],
)
def test_a_file_that_cannot_be_kept(client: OpenAI, given: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(**given)
    assert caught.value.param == param


def test_a_file_is_kept_as_long_as_was_asked(client: OpenAI) -> None:
    file = client.files.create(file=b"x", purpose="batch", expires_after={"anchor": "created_at", "seconds": 3_600})
    assert file.expires_at == file.created_at + 3_600


def test_a_batch_runs_to_its_output_file(client: OpenAI) -> None:
    picture = client.files.create(file=PICTURE, purpose="vision")
    data_uri = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    lines = [
        line("by id", prompt=GREY, images=[{"file_id": picture.id}], model="local-adjust", output_format="webp"),
        line("by uri", prompt=GREY, image=data_uri, response_format="url"),
        line("two", prompt=GREY, image=data_uri, n=2),
        line("typo", promt=GREY, image=data_uri),
        line("no file", prompt=GREY, image={"file_id": f"file-{'0' * 26}"}),
        {**line("elsewhere", prompt=GREY, image=data_uri), "url": "/v1/chat/completions"},
        "{this is no JSON",
        line("moderated", prompt="no [[sim: moderated]]", image=data_uri, model="qwen-edit"),
    ]
    batch = begin(client, lines, metadata={"order": "7"})
    assert batch.status in get_args(Batch.model_fields["status"].annotation)
    batch = ended(client, batch)
    assert (batch.status, batch.metadata, batch.endpoint) == ("completed", {"order": "7"}, "/v1/images/edits")
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 8, "completed": 2, "failed": 6}
    by_id, by_uri = lines_of(client, batch.output_file_id)
    assert (by_id["custom_id"], by_id["error"], by_id["response"]["status_code"]) == ("by id", None, 200)
    result = picture_of(by_id["response"]["body"]["data"][0]["b64_json"])
    assert (result.format, result.size) == ("WEBP", SIZE)
    assert by_uri["response"]["body"]["data"][0]["url"].startswith("http")
    failed = lines_of(client, batch.error_file_id)
    assert {one["response"]["status_code"] for one in failed} == {400}
    told = [(one["custom_id"], *(one["response"]["body"]["error"][key] for key in ("code", "param"))) for one in failed]
    assert told == [
        ("two", "invalid_value", "n"),
        ("typo", "missing_required_parameter", "prompt"),
        ("no file", "not_found", "image"),
        (None, "invalid_value", "url"),
        (None, "invalid_json", None),
        ("moderated", "moderation_blocked", None),
    ]
    with pytest.raises(openai.ConflictError):
        client.files.delete(str(batch.output_file_id))


def test_batches_are_listed_page_by_page(openai_stack: Stack) -> None:
    with client_of(openai_stack, key=make_key(openai_stack, "lister")) as client:
        made = [begin(client, [line("a", prompt=GREY)]).id for _ in range(3)]
        assert [batch.id for batch in client.batches.list(limit=1)] == made[::-1]
        with pytest.raises(openai.BadRequestError) as caught:
            client.batches.list(after="batch_nothing")
    assert caught.value.param == "after"


def test_a_batch_is_stopped(client: OpenAI) -> None:
    """Its edits never end by themselves."""
    body = {"prompt": "for ever [[sim: stuck]]", "image": f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"}
    batch = begin(client, [line(f"{n}", model="qwen-edit", **body) for n in range(3)])
    assert batch.output_file_id is None
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = ended(client, batch)
    assert (batch.status, batch.output_file_id) == ("cancelled", None)
    assert batch.cancelled_at is not None
    assert [one["error"]["code"] for one in lines_of(client, batch.error_file_id)] == ["batch_cancelled"] * 3


@pytest.mark.parametrize("purpose", ["vision", None])
def test_a_batch_needs_an_input_file(client: OpenAI, purpose: Any) -> None:
    file_id = client.files.create(file=PICTURE, purpose=purpose).id if purpose else f"file-{'0' * 26}"
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(input_file_id=file_id, endpoint="/v1/images/edits", completion_window="24h")
    assert caught.value.param == "input_file_id"
    with pytest.raises(openai.BadRequestError) as other:
        client.batches.create(input_file_id=file_id, endpoint="/v1/responses", completion_window="24h")
    assert other.value.param == "endpoint"
