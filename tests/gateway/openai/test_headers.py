"""Durations as OpenAI writes them, statuses and codes as its clients know them."""

import pytest

from gateway.openai.errors import openai_error, openai_status, should_retry
from gateway.openai.headers import duration
from shared.errors import EditStudioError, FieldError, error_classes


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.1, "100ms"), (1, "1s"), (6.52, "6.6s"), (60, "1m0s"), (59.99, "1m0s"), (360, "6m0s")]
)
def test_a_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


#: What openai 2.54.0 has a class of its own for; above 499 there is one for all.
_KNOWN = (400, 401, 403, 404, 409, 429)


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.code)
def test_every_error_is_one_that_the_client_knows(cls: type[EditStudioError]) -> None:
    error = cls("a message")
    status = openai_status(cls)
    assert status in _KNOWN or status >= 500 or cls.status in (405, 406, 408, 413, 416)
    told = openai_error(error)
    assert (told.message, told.type == "server_error") == ("a message", status >= 500 or status == 408)
    assert told.code
    # Work that has ended stays as it is; whoever has no money left has none a second later.
    assert should_retry(error) is (error.retryable and status in (408, 409, 429, 500, 503) and "provider" not in cls.code)


@pytest.mark.parametrize(
    ("pointer", "param"),
    [
        ("/image_base64", "image"),
        ("/image", "image"),
        ("/image[]", "image"),
        ("/mask_url", "mask"),
        ("/reference_images/3", "image"),
        ("/output_quality", "output_compression"),
        ("/body/n", "n"),
        ("/custom_id", "custom_id"),
        ("/cursor", "after"),
        ("", None),
    ],
)
def test_a_pointer_names_openais_parameter(pointer: str, param: str | None) -> None:
    cls = error_classes()["validation_failed"]
    assert openai_error(cls("no", errors=[FieldError(pointer, "invalid_value", "no")])).param == param
