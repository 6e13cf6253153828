"""What OpenAI's clients ask for, in our words."""

from typing import Any

import pytest

from gateway.openai.wishes import ASKED_FOR, EditsRequest, native_fields, validated
from shared.catalog.load import load_catalog
from shared.edit import EditRequest, Role
from shared.errors import ValidationFailed

CATALOG = load_catalog()
EVERY = frozenset(CATALOG.providers)
FILE = f"file-{'0' * 25}1"
IMAGE = {"image": "iVBORw0KGgo="}


def wish(seen: frozenset[str] = EVERY, files: dict[Role, int] | None = None, **given: Any) -> EditRequest:
    """An edit of one picture; `given` are the fields as a client sends them."""
    asked = validated(EditsRequest, {"prompt": "a hat", **given})
    return validated(EditRequest, native_fields(asked, CATALOG, seen, files=files or {}))


def test_what_is_left_out_is_as_with_openai() -> None:
    found = wish()
    assert (found.operation, found.model, found.size, found.output_format) == ("general_edit", None, "match_input", "png")
    assert (found.response_format, found.metadata, found.preferences) == ("b64", {}, None)


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"size": "auto"}, "size", "match_input"),
        ({"size": "1536x1024"}, "size", "1536x1024"),
        ({"output_compression": 0}, "output_quality", 1),
        ({"output_compression": "85"}, "output_quality", 85),
        ({"response_format": "url"}, "response_format", "url"),
        ({"model": "dall-e-2"}, "response_format", "url"),
        ({"model": "dall-e-2", "response_format": "b64_json"}, "response_format", "b64"),
        ({"user": "u-1"}, "metadata", {"user": "u-1"}),
        ({"image": "https://example.com/a.png"}, "image_url", "https://example.com/a.png"),
        ({"image": "data:image/png;base64,AAAA"}, "image_base64", "data:image/png;base64,AAAA"),
        ({"image": {"file_id": FILE}}, "image_id", f"upl_{'0' * 25}1"),
        ({"mask": {"image_url": "https://example.com/m.png"}}, "mask_url", "https://example.com/m.png"),
        ({"mask": "AAAA"}, "mask_mode", "alpha_transparent_is_edit"),
        ({"mask": "AAAA"}, "operation", "inpaint"),
        ({"mask": "AAAA", "model": "qwen-edit"}, "operation", "general_edit"),
    ],
)
def test_each_field_has_its_like(given: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(wish(**given), name) == value


def test_a_mask_in_a_form_counts_as_one_in_json() -> None:
    assert wish(files={Role.MASK: 1}).operation == "inpaint"
    assert wish(files={Role.MASK: 1}, seen=frozenset({"huggingface"})).operation == "general_edit"


def test_of_several_pictures_the_first_one_is_edited() -> None:
    found = wish(image=["AAAA", {"file_id": FILE}], images=[{"image_url": "https://example.com/c.png"}])
    assert found.image_base64 == "AAAA"
    assert [one.id or one.url for one in found.reference_images] == [f"upl_{'0' * 25}1", "https://example.com/c.png"]


@pytest.mark.parametrize(
    ("quality", "preferred"), [("low", "prioritize_cost"), ("high", "prioritize_quality"), ("hd", "prioritize_quality")]
)
def test_where_the_model_is_chosen_quality_says_what_matters(quality: str, preferred: str) -> None:
    found = wish(quality=quality)
    assert found.preferences is not None
    assert [name for name, value in found.preferences if value] == [preferred]


@pytest.mark.parametrize(
    ("model", "quality", "options"),
    [
        ("gpt-image-1", "low", {"quality": "low"}),
        ("gpt-image-1", "hd", {}),
        ("qwen-edit", "low", {}),
        ("qwen-edit", "medium", {}),
    ],
)
def test_a_model_that_is_named_gets_the_quality_if_it_has_any(model: str, quality: str, options: dict[str, str]) -> None:
    found = wish(model=model, quality=quality)
    assert (found.model, found.options, found.preferences) == (model, options, None)


@pytest.mark.parametrize(
    ("given", "model", "asked_for"),
    [
        ({"model": None}, None, None),
        ({"model": "auto"}, None, None),
        ({"model": "qwen-edit"}, "qwen-edit", None),
        ({"model": "gpt-image-1"}, "gpt-image-1", None),
        ({"model": "gpt-image-2"}, "gpt-image-1", "gpt-image-2"),
        ({"model": "chatgpt-image-latest"}, "gpt-image-1", "chatgpt-image-latest"),
        ({"model": "dall-e-2"}, "gpt-image-1", "dall-e-2"),
        ({"model": "gpt-image-1", "seen": frozenset({"local"})}, None, "gpt-image-1"),
        ({"model": "gpt-image-1", "prompt": "加一只猫"}, None, "gpt-image-1"),
        ({"model": "gpt-image-1", "image": ["AAAA", "BBBB"]}, None, "gpt-image-1"),
        ({"model": "gpt-image-1", "files": {Role.REFERENCE: 1}}, None, "gpt-image-1"),
        ({"model": "nothing-of-the-kind"}, "nothing-of-the-kind", None),
    ],
)
def test_a_name_of_openais_is_its_model_where_that_can_do_it(
    given: dict[str, Any], model: str | None, asked_for: str | None
) -> None:
    found = wish(**given)
    assert (found.model, found.metadata.get(ASKED_FOR)) == (model, asked_for)


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({"n": 0}, "/n"),
        ({"n": "11"}, "/n"),
        ({"n": "two"}, "/n"),
        ({"n": 1.5}, "/n"),
        ({"n": True}, "/n"),
        ({"stream": "perhaps"}, "/stream"),
        ({"stream": 2}, "/stream"),
        ({"partial_images": 4}, "/partial_images"),
        ({"image": {"file_id": FILE, "image_url": "https://example.com"}}, "/image"),
        ({"image": {}}, "/image"),
        ({"image": []}, "/image"),
        ({"image": ["A"] * 17}, "/image"),
        ({"prompt": None}, "/prompt"),
        ({"style": "vivid"}, "/style"),
    ],
)
def test_what_cannot_be_is_told_by_its_name(given: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        wish(**given)
    assert caught.value.errors[0].pointer.startswith(pointer)
