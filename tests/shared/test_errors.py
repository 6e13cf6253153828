"""The error tree: codes, statuses, the table that is published, and the tree that is drawn at the top of the file."""

import inspect
import pickle
import re

import pytest

import shared.errors
from shared.errors import (
    EditStudioError,
    FieldError,
    MaskInvalid,
    ProviderError,
    ProviderRateLimited,
    ValidationFailed,
    error_classes,
)

_CLASSES = [
    cls
    for _, cls in inspect.getmembers(shared.errors, inspect.isclass)
    if issubclass(cls, EditStudioError) and cls is not EditStudioError
]


def test_every_class_has_a_code_of_its_own_and_the_table_has_them_all() -> None:
    codes = [cls.code for cls in _CLASSES]
    assert len(set(codes)) == len(codes)
    table = error_classes()
    assert {code: cls for code, cls in table.items() if cls.__module__ == shared.errors.__name__} == dict(
        zip(codes, _CLASSES, strict=True)
    )


@pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_says_what_it_is(cls: type[EditStudioError]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]+", cls.code)
    assert 400 <= cls.status <= 599
    assert isinstance(cls.retryable, bool)
    assert cls.title
    assert not cls.title.endswith(".")
    assert "code" in vars(cls), "a class that inherits its code could not be told from its parent"
    assert "title" in vars(cls), "a title that is inherited describes the parent"


@pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_is_drawn_in_the_tree(cls: type[EditStudioError]) -> None:
    assert re.search(rf"\b{cls.__name__}\b", shared.errors.__doc__ or "")


@pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_survives_the_way_out_of_a_pool_process(cls: type[EditStudioError]) -> None:
    error = cls("what happened", retry_after_s=2.5)
    if isinstance(error, ProviderError):
        error.billed = None
    came = pickle.loads(pickle.dumps(error))
    assert type(came) is cls
    assert (str(came), came.detail, came.retry_after_s, came.errors) == ("what happened", "what happened", 2.5, ())
    assert vars(came) == vars(error)


def test_an_error_at_a_field_names_field_code_and_fault() -> None:
    error = MaskInvalid.at("/mask_base64", "the mask is too small")
    assert isinstance(error, MaskInvalid)
    assert error.errors == (FieldError("/mask_base64", "mask_invalid", "the mask is too small"),)


def test_two_classes_with_one_code_are_found() -> None:
    class Twin(ValidationFailed):
        pass

    with pytest.raises(ValueError, match=r"Twin.*ValidationFailed|ValidationFailed.*Twin"):
        error_classes()
    # Subclasses are known as long as they live: nobody else may find this one.
    del Twin
    __import__("gc").collect()
    error_classes()


def test_a_provider_error_is_not_billed_unless_it_says_so() -> None:
    assert ProviderError("no").billed is False
    limited = ProviderRateLimited("slow down", retry_after_s=7, billed=None)
    assert (limited.retry_after_s, limited.billed, limited.retryable) == (7, None, True)
