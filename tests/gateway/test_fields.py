"""What is wrong with which field."""

import json
from typing import Any

import pytest

from gateway.fields import fields_of_texts, nearest, parse_json, pointer_to
from shared.edit import EditRequest
from shared.errors import InvalidJson, RequestError, UrlNotAllowed, ValidationFailed


def faults(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(RequestError) as caught:
        parse_json(EditRequest, json.dumps(document).encode())
    return [(error.pointer, error.code) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"promt": "x"}, [("/promt", "unknown_field")]),
        ({"a/b~c": 1}, [("/a~1b~0c", "unknown_field")]),
        ({"prompt": 5}, [("/prompt", "wrong_type")]),
        ({"seed": "5"}, [("/seed", "wrong_type")]),
        ({"seed": 1.5}, [("/seed", "wrong_type")]),
        ({"strict": 1}, [("/strict", "wrong_type")]),
        ({"steps": 0}, [("/steps", "invalid_value")]),
        ({"operation": "paint"}, [("/operation", "invalid_value")]),
        ({"preferences": {"prioritise_cost": True}}, [("/preferences/prioritise_cost", "unknown_field")]),
        ({"options": {"k": [1]}}, [("/options/k", "wrong_type")]),
        ({"metadata": {"k": 1, "l": "x" * 513}}, [("/metadata/k", "wrong_type"), ("/metadata/l", "invalid_value")]),
        ({"metadata": {"k" * 65: "x"}}, [("/metadata/" + "k" * 65, "invalid_value")]),
        ({"reference_images": [{"url": "https://a.b"}, {}]}, [("/reference_images/1", "invalid_value")]),
        ({"reference_images": [{"urll": "https://a.b"}]}, [("/reference_images/0/urll", "unknown_field")]),
        ({"webhook_events": ["edit.begun"]}, [("/webhook_events/0", "invalid_value")]),
        ({"image_id": "edit_x", "prompt": []}, [("/prompt", "wrong_type"), ("/image_id", "invalid_value")]),
        ([], [("", "wrong_type")]),
    ],
)
def test_each_fault_is_found_at_its_place(document: Any, expected: list[tuple[str, str]]) -> None:
    assert faults(document) == expected


def test_an_unknown_field_comes_with_the_nearest_known_name() -> None:
    with pytest.raises(ValidationFailed, match="did you mean negative_prompt"):
        parse_json(EditRequest, b'{"negativ_prompt": "x"}')
    with pytest.raises(ValidationFailed, match="did you mean url"):
        parse_json(EditRequest, b'{"reference_images": [{"uri": "x"}]}')


def test_a_scheme_that_is_not_http_has_the_code_of_forbidden_urls() -> None:
    with pytest.raises(UrlNotAllowed):
        parse_json(EditRequest, b'{"image_url": "file:///etc/passwd"}')


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"prompt": "\\ud800"}', b"[" * 5_000, b"{} {}", b"NaN"])
def test_what_is_not_json_is_said_not_to_be(data: bytes) -> None:
    with pytest.raises((InvalidJson, ValidationFailed)):
        parse_json(EditRequest, data)


def test_infinite_numbers_are_refused() -> None:
    with pytest.raises(ValidationFailed):
        parse_json(EditRequest, b'{"options": {"x": NaN}}')
    with pytest.raises(ValidationFailed):
        parse_json(EditRequest, b'{"max_cost": Infinity}')


def test_text_parts_become_values_of_the_declared_types() -> None:
    texts = [
        ("prompt", "5"),
        ("seed", "5"),
        ("strict", "false"),
        ("max_cost", "0.5"),
        ("metadata", '{"a": "b"}'),
        ("webhook_events", "edit.failed"),
        ("webhook_events", "edit.canceled"),
        ("operation", "erase"),
        ("steps", "many"),
        ("unknown", "1"),
    ]
    assert fields_of_texts(texts, EditRequest) == {
        "prompt": "5",
        "seed": 5,
        "strict": False,
        "max_cost": 0.5,
        "metadata": {"a": "b"},
        "webhook_events": ["edit.failed", "edit.canceled"],
        "operation": "erase",
        "steps": "many",
        "unknown": "1",
    }


def test_a_part_that_comes_twice_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        fields_of_texts([("prompt", "a"), ("prompt", "b")], EditRequest)


def test_pointers_are_escaped() -> None:
    assert pointer_to("a/b", 0, "~") == "/a~1b/0/~0"


def test_nothing_near_gives_no_name() -> None:
    assert nearest("zzzzzz", ["prompt", "model"]) == []
