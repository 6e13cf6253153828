"""How arq's arguments are written, and the lane that an edit waits in."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.load import load_catalog
from shared.queue import deserialize, lane_of, serialize
from tests.conftest import make_spec

_VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(st.text(), _VALUES))
def test_what_is_written_is_read_again(value: dict[str, object]) -> None:
    assert deserialize(serialize(value)) == value


@pytest.mark.parametrize("data", [pickle.dumps({"f": "run_edit"}), b"[]", b"1", b"", b"\x80\x04", b"{"])
def test_a_pickle_or_anything_but_an_object_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's and ours
        deserialize(data)


@pytest.mark.parametrize(
    ("options", "seen", "lane"),
    [
        ({}, ("local",), "local"),
        ({}, ("local", "wavespeed"), "local"),
        ({"prompt": "make the cup blue"}, ("local", "wavespeed"), "wavespeed"),
        ({"model": "flux-kontext-pro", "prompt": "make it sepia"}, ("local", "wavespeed"), "wavespeed"),
        ({"provider": "wavespeed"}, ("local", "wavespeed"), "wavespeed"),
        ({"operation": "upscale", "prompt": None, "options": {"factor": 4}}, ("local", "wavespeed"), "wavespeed"),
        ({"operation": "erase", "prompt": None, "options": {"grow_mask": 4}}, ("stability", "wavespeed"), "stability"),
        (
            {"operation": "erase", "prompt": None, "options": {"grow_mask": 4}, "strict": False},
            ("stability", "wavespeed"),
            "wavespeed",
        ),
    ],
)
def test_an_edit_waits_for_the_provider_that_will_do_it(options: dict[str, Any], seen: tuple[str, ...], lane: str) -> None:
    assert lane_of(make_spec(**options), load_catalog(), seen) == lane


def test_an_edit_that_nobody_can_do_waits_where_any_worker_can_say_so() -> None:
    assert lane_of(make_spec(prompt="make the cup blue"), load_catalog(), ()) == "local"
    assert lane_of(make_spec(), load_catalog(), ()) == "local"
