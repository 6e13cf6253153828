"""The simulator for the tests of this folder, and the whole service for those with OpenAI's client."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.end_to_end.stack import Stack
from tests.interop.openai_calls import client_of
from tests.simulator_fixtures import http, picture_server, simulator, start_simulator

__all__ = ["http", "picture_server", "simulator", "start_simulator"]


@pytest.fixture(scope="session")
def openai_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A gateway and a worker, on simulated providers whose tasks take 0.5 s."""
    with Stack(tmp_path_factory.mktemp("openai")) as stack:
        stack.start_worker().ready()
        yield stack


@pytest.fixture
def client(openai_stack: Stack) -> Iterator[OpenAI]:
    with client_of(openai_stack) as client:
        yield client
