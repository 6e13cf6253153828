"""Fixtures of the store's tests."""

from typing import Any

import pytest

from shared.store.batches import Batches
from shared.store.connection import Scripts


@pytest.fixture
def batches(scripts: Scripts, make_settings: Any) -> Batches:
    return Batches(scripts, make_settings(running_cap=10))
