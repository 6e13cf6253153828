"""The table of operations."""

import pytest

from shared.edit import EditRequest, Operation
from shared.operations import OPERATIONS, SPECIFIC_FIELDS, OperationRules


def test_every_operation_has_rules_in_the_order_of_the_enum() -> None:
    assert list(OPERATIONS) == list(Operation)


def test_every_specific_field_is_a_field_of_the_request() -> None:
    fields = {name.removesuffix("_base64") for name in EditRequest.model_fields}
    assert set(SPECIFIC_FIELDS) <= fields


@pytest.mark.parametrize("rules", OPERATIONS.values(), ids=str)
def test_each_field_has_exactly_one_place(rules: OperationRules) -> None:
    places = [*rules.required, *rules.optional, *rules.one_of, *rules.refused]
    assert sorted(places) == sorted({"image", *SPECIFIC_FIELDS})


def test_every_specific_field_is_taken_by_some_operation() -> None:
    taken = {name for rules in OPERATIONS.values() for name in (*rules.required, *rules.optional, *rules.one_of)}
    assert set(SPECIFIC_FIELDS) <= taken


def test_missing_fields_and_choices_are_told() -> None:
    assert OPERATIONS[Operation.INPAINT].missing({"image"}) == ("mask", "prompt")
    assert OPERATIONS[Operation.OUTPAINT].lacks_choice({"image", "prompt"})
    assert not OPERATIONS[Operation.OUTPAINT].lacks_choice({"image", "expand_up"})
    assert not OPERATIONS[Operation.ERASE].lacks_choice({"image"})
