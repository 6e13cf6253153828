"""What is wrong with which field."""

import json
from typing import Any

import pytest
from pydantic_core import to_json

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


MANY = 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"{" + b",".join(b'"k%d":1' % n for n in range(MANY)) + b"}",
        b'{"options":{' + b",".join(b'"%x":[]' % n for n in range(MANY)) + b"}}",
        b'{"webhook_events":[' + b"1," * MANY + b"1]}",
        b'{"reference_images":[' + b"{}," * MANY + b"{}]}",
        b'{"prompt":"' + rb"\"\\" * MANY + b'","webhook_events":[' + b"1," * MANY + b"1]}",
        b'{"prompt":[' + b'"",' * MANY + b'""]}',
    ],
    ids=["unknown keys", "options", "events", "references", "behind a text of quotes", "texts"],
)
def test_a_mass_of_values_is_refused_before_a_parser_judges_each_of_them(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(EditRequest, "model_validate_json", parsed.append)
    with pytest.raises(ValidationFailed, match="more than 500 values") as refused:
        parse_json(EditRequest, data)
    assert ([error.pointer for error in refused.value.errors], parsed) == ([""], [])
    # The same as texts of a form.
    with pytest.raises(ValidationFailed) as refused:
        fields_of_texts([("options", data.decode())], EditRequest)
    assert [error.pointer for error in refused.value.errors] == ["/options"]


@pytest.mark.parametrize("text", [",", '","', '\\",\\\\', "\\", "{,}[,]", "，"])
def test_commas_and_quotes_in_texts_are_no_values(text: str) -> None:
    prompt = (text * 8_000)[:8_000]
    wish = {"prompt": prompt, "negative_prompt": prompt, "metadata": {f"k{n}": prompt[:512] for n in range(16)}}
    for data in (json.dumps(wish), json.dumps(wish, ensure_ascii=False)):
        assert parse_json(EditRequest, data.encode()).prompt == prompt


def test_as_many_values_as_a_request_can_have_are_taken() -> None:
    references = [{"url": "https://a.example/"}] * 16
    options = {f"option{n}": n for n in range(32)}
    parse_json(EditRequest, json.dumps({"reference_images": references, "options": options, "metadata": {"k": "v"}}).encode())
    with pytest.raises(ValidationFailed) as refused:
        parse_json(EditRequest, json.dumps({f"k{n}": n for n in range(400)}).encode())
    # Each is judged; no more than 50 are told.
    assert (len(refused.value.errors), "(and 399 more)" in refused.value.detail) == (50, True)


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '{"\\udc00": 1}', '["a\\ud83d"]', "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300]
)
@pytest.mark.parametrize("field", ["options", "webhook_events", "reference_images", "preferences", "seed", "strict"])
def test_a_part_that_could_not_be_written_again_stays_text_and_is_refused(field: str, text: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_json(EditRequest, to_json(fields_of_texts([(field, text)], EditRequest)))
    assert refused.value.errors[0].pointer.startswith(f"/{field}")


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
