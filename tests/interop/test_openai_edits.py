"""OpenAI's own client edits pictures here, unchanged except for its address and key."""

import io
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image, ImageChops

from tests.end_to_end.stack import Stack
from tests.interop.openai_calls import GREY, PAID, PICTURE, SIZE, base_url, edits_of, picture_of
from tests.pictures import encoded, opened, photo


def is_grey(image: Image.Image) -> bool:
    red, green, blue = image.convert("RGB").split()
    return not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox()


def mask_with_hole() -> bytes:
    """Opaque but for its left half: there the picture is to be edited."""
    mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, SIZE[0] // 2, SIZE[1]))
    return encoded(mask, "PNG")


def test_a_file_comes_back_edited(client: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "cup.png"
    path.write_bytes(PICTURE)
    with path.open("rb") as file:
        answer = client.images.edit(image=file, prompt=GREY)
    assert answer.data is not None
    (one,) = answer.data
    assert (one.url, answer.output_format, answer.size) == (None, "png", f"{SIZE[0]}x{SIZE[1]}")
    assert is_grey(picture_of(one.b64_json))
    assert answer.created > 1_600_000_000
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0
    assert answer._request_id


@pytest.mark.parametrize(("model", "operation"), [("auto", "inpaint"), ("gpt-image-1", "inpaint"), (PAID, "general_edit")])
def test_only_what_is_transparent_in_the_mask_changes(client: OpenAI, openai_stack: Stack, model: str, operation: str) -> None:
    answer = client.images.edit(image=PICTURE, mask=("mask.png", mask_with_hole()), prompt="a hat", model=model)
    assert answer.data is not None
    difference = ImageChops.difference(picture_of(answer.data[0].b64_json).convert("RGB"), photo(size=SIZE))
    changed = difference.getbbox()
    assert changed is not None
    assert changed[2] <= SIZE[0] // 2
    (job, *_) = edits_of(openai_stack, "a hat")
    assert job["operation"] == operation


def test_n_asks_for_as_many_edits_and_links_lead_to_them(client: OpenAI) -> None:
    answer = client.images.edit(image=[PICTURE], prompt="a cup of tea", n=2, model=PAID, response_format="url", user="u-1")
    assert answer.data is not None
    assert len({done(one)["id"] for one in answer.data}) == 2
    assert {done(one)["model"] for one in answer.data} == {PAID}
    for one in answer.data:
        assert one.b64_json is None
        assert one.url is not None
        with urlopen(one.url, timeout=10) as result:
            assert opened(result.read()).size == SIZE


def test_pictures_beside_the_first_one_are_references(client: OpenAI, openai_stack: Stack) -> None:
    other = encoded(photo("chelsea.png", SIZE), "JPEG")
    answer = client.images.edit(image=[PICTURE, other], prompt="the cat drinks", model="qwen-edit-plus", size="64x64")
    assert answer.data is not None
    assert picture_of(answer.data[0].b64_json).size == (64, 64)
    (job,) = edits_of(openai_stack, "the cat drinks")
    assert job["model"] == "qwen-edit-plus"


@pytest.mark.parametrize("name", ["dall-e-2", "gpt-image-1.5"])
def test_openais_own_names_stand_for_its_model_and_say_so(client: OpenAI, name: str) -> None:
    answer = client.images.edit(
        image=PICTURE, prompt="more foam", model=name, quality="low", response_format="b64_json", output_format="jpeg"
    )
    assert answer.data is not None
    assert (answer.quality, answer.output_format) == ("low", "jpeg")
    assert {key: done(answer.data[0])[key] for key in ("requested_model", "model", "cost")} == {
        "requested_model": name,
        "model": "gpt-image-1",
        "cost": 0.016,
    }


def test_a_name_of_openais_that_cannot_do_it_leaves_the_choice_to_us(client: OpenAI) -> None:
    """Its model understands English only."""
    answer = client.images.edit(image=PICTURE, prompt="加一只猫", model="gpt-image-1")
    assert answer.data is not None
    assert done(answer.data[0])["requested_model"] == "gpt-image-1"
    assert done(answer.data[0])["model"] != "gpt-image-1"


def test_a_stream_ends_with_the_picture(client: OpenAI) -> None:
    with client.images.edit(image=PICTURE, prompt="a stream", model=PAID, stream=True, partial_images=2, n=2) as stream:
        events = list(stream)
    assert [event.type for event in events] == ["image_edit.completed"] * 2
    assert {picture_of(event.b64_json).size for event in events} == {SIZE}
    assert events[0].to_dict().keys() >= {"background", "created_at", "output_format", "quality", "size", "usage"}


def test_a_stream_tells_of_a_failure(client: OpenAI) -> None:
    with (
        client.images.edit(image=PICTURE, prompt="no [[sim: moderated]]", model=PAID, stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        list(stream)
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")


async def test_the_async_client_does_the_same(openai_stack: Stack) -> None:
    async with AsyncOpenAI(base_url=base_url(openai_stack), api_key=openai_stack.api_key) as client:
        answer = await client.images.edit(image=io.BytesIO(PICTURE), prompt=GREY, output_format="webp", output_compression=80)
        assert answer.data is not None
        assert picture_of(answer.data[0].b64_json).format == "WEBP"
        events = [event async for event in await client.images.edit(image=PICTURE, prompt=GREY, stream=True)]
    assert [event.type for event in events] == ["image_edit.completed"]


def test_json_with_references_and_texts_for_numbers(client: OpenAI) -> None:
    file = client.files.create(file=PICTURE, purpose="vision")
    body = {"prompt": GREY, "images": [{"file_id": file.id}], "n": "2", "stream": "false", "output_compression": "90"}
    answer: Any = client.post("/images/edits", body=body, cast_to=object)
    assert [is_grey(picture_of(one["b64_json"])) for one in answer["data"]] == [True, True]


def test_parts_that_say_nothing_of_their_kind_are_looked_into(openai_stack: Stack) -> None:
    """As curl and others send them."""
    files = {"image": ("blob", encoded(photo(size=SIZE), "WEBP"), "application/octet-stream")}
    answer = httpx.post(
        f"{base_url(openai_stack)}/images/edits",
        headers={"Authorization": f"Bearer {openai_stack.api_key}"},
        files=files,
        data={"prompt": GREY, "n": "1"},
        timeout=60,
    )
    assert answer.status_code == 200
    assert is_grey(picture_of(answer.json()["data"][0]["b64_json"]))


def test_models_are_listed_and_found(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto"
    assert {"local-adjust", PAID, "gpt-image-1"} <= set(names)
    assert client.models.retrieve(PAID).object == "model"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nope")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def done(image: Any) -> dict[str, Any]:
    """What is said of an edit beside OpenAI's own fields."""
    said: dict[str, Any] = image.edit_studio
    return said
