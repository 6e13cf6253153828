"""One stack for each file of the failure matrix."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.end_to_end.caller import Caller, calling
from tests.end_to_end.stack import Stack

_WORKERS = 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("matrix")) as stack:
        for worker in [stack.start_worker() for _ in range(_WORKERS)]:
            worker.ready()
        yield stack


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    """A caller; whatever the test did, the next one finds all servers up and two workers."""
    async with calling(stack) as caller:
        yield caller
    for worker in [stack.start_worker() for _ in range(_WORKERS - len(stack.workers()))]:
        await asyncio.to_thread(worker.ready)
