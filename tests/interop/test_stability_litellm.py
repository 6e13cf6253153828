"""LiteLLM, somebody else's client for Stability, runs against the simulator: what it understands, ours has to as well.

It knows six of the nine operations. It asks for JSON, names its files `upload`, sends a prompt to operations that take none,
and forwards `left` and `right`, not `up` and `down`.
"""

import asyncio
import base64
import importlib
import os
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.simulator_fixtures import Simulator, make_picture, opened

pytestmark = pytest.mark.filterwarnings("ignore:Item 'summary':UserWarning")  # About its own types, while it loads them.
PICTURE = make_picture(128, 96)


@pytest.fixture(scope="module")
def litellm() -> ModuleType:
    """Imported by who runs a test, since it takes seconds."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Or its import asks the network for prices.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("litellm")


@pytest.fixture
def run(simulator: Simulator, litellm: ModuleType) -> Callable[..., Any]:
    """litellm.image_edit in a thread; the edited picture."""

    async def call(operation: str, prompt: str | None = "make it blue", *, key: str = "simulated-key", **given: Any) -> Any:
        answer = await asyncio.to_thread(
            litellm.image_edit,
            model=f"stability/{operation}",
            image=[PICTURE],
            prompt=prompt,
            api_base=simulator.url,
            api_key=key,
            num_retries=0,
            **given,
        )
        return opened(base64.b64decode(answer.data[0].b64_json))

    return call


@pytest.mark.parametrize(
    ("operation", "given", "size", "path"),
    [
        ("inpaint", {"mask": PICTURE}, (2365, 1774), "edit/inpaint"),
        ("erase", {"mask": PICTURE}, (2365, 1774), "edit/erase"),
        ("remove-background", {}, (128, 96), "edit/remove-background"),
        ("outpaint", {"left": 10, "right": 20}, (158, 96), "edit/outpaint"),
        ("search-and-replace", {"search_prompt": "a cup"}, (2365, 1774), "edit/search-and-replace"),
        ("search-and-recolor", {"select_prompt": "a cup"}, (128, 96), "edit/search-and-recolor"),
    ],
)
async def test_it_runs_the_operations_that_it_knows(
    run: Callable[..., Any], simulator: Simulator, operation: str, given: dict[str, Any], size: tuple[int, int], path: str
) -> None:
    assert (await run(operation, **given)).size == size
    assert [billed["model"] for billed in await simulator.ledger()] == [path]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("400", "simulated failure 400"),
        ("402", "credits"),
        ("moderated", "flagged"),
        ("nsfw", "filtered"),
        ("429", "rate limit"),
        ("500", "simulated failure"),
    ],
)
async def test_it_reports_a_fault_in_the_servers_words(run: Callable[..., Any], fault: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        await run("search-and-recolor", f"x [[sim: {fault}]]", select_prompt="a cup")


async def test_it_reports_a_wrong_key(run: Callable[..., Any], litellm: ModuleType) -> None:
    with pytest.raises(litellm.exceptions.AuthenticationError):
        await run("erase", key="invalid", mask=PICTURE)
