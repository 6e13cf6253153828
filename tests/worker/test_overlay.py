"""A model that an operator adds: one table in a file of his own, and no code."""

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.candidates import Circumstances
from shared.catalog.load import load_catalog
from shared.job import JobState
from shared.learned import Learned
from shared.model_view import model_view
from shared.recommend import recommend
from tests import pictures
from tests.conftest import SECRET, make_spec
from tests.worker.edit_bench import BLUE
from tests.worker.edit_fixtures import *  # noqa: F403
from tests.worker.edit_fixtures import OpenBench

#: An address that the simulator knows and the shipped catalogue does not have.
MODEL = """
[[models]]
id = "flux-2-dev-edit"
name = "FLUX.2 [dev] Edit"
description = "The open FLUX.2, as an editor."
tier = "budget"
quality = "good"
path = "wavespeed-ai/flux-2-dev/edit"
operations = ["general_edit"]
capabilities = ["general_edit"]
use_cases = ["Quick edits"]
features = ["Seed"]
languages = ["en"]
size = { max_side = 1568, max_pixels = 1048576 }
mask = { kind = "composited" }
price = { usd = 0.012, source = "price list" }
source = "handbook"

[models.parameters]
prompt = { type = "string", required = true, field = "prompt" }
seed = { type = "integer", min = 0, max = 2147483647, field = "seed" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The operator's folder, with the model in it."""
    (tmp_path / "wavespeed.toml").write_text(MODEL)
    return tmp_path


def test_it_is_listed_and_recommended_at_its_price(folder: Path) -> None:
    catalog = load_catalog(folder)
    view = model_view(catalog.models["flux-2-dev-edit"], ("wavespeed",), Learned())
    assert (view.provider, view.cost, view.supports_mask, view.supports_seed) == ("wavespeed", 0.012, "composited", True)
    now = Circumstances(configured=("wavespeed",), upright_size=(600, 400))
    found = recommend(make_spec(prompt=BLUE), catalog=catalog, now=now)
    assert (found.model.id, found.usd) == ("flux-2-dev-edit", Decimal("0.012"))


@pytest.mark.parametrize("wish", [{}, {"model": "flux-2-dev-edit", "seed": 7}], ids=["chosen", "pinned"])
async def test_it_does_edits(open_bench: OpenBench, folder: Path, wish: dict[str, Any]) -> None:
    bench = await open_bench(catalog_dir=folder)
    await bench.accept(pictures.encoded(pictures.photo(size=(600, 400)), "PNG"), **wish)
    record = await bench.work()
    assert record.state is JobState.SUCCEEDED, record.course.error
    assert (record.course.model, record.course.estimated_usd) == ("flux-2-dev-edit", 0.012)
    assert pictures.opened(await bench.output(record)).size == (600, 400)
    (submit,) = await bench.simulator.ledger()
    assert (submit["model"], submit["usd"]) == ("wavespeed-ai/flux-2-dev/edit", 0.012)


@pytest.mark.parametrize("module", ["gateway", "worker"])
def test_a_broken_file_stops_the_start_and_is_named_with_key_and_reason(tmp_path: Path, module: str) -> None:
    (tmp_path / "wavespeed.toml").write_text(MODEL.replace('tier = "budget"', 'tier = "cheap"'))
    # No Redis and no storage are there: the catalogue is read before either is asked.
    variables = {
        "EDIT_STUDIO_SECRET": SECRET,
        "EDIT_STUDIO_CATALOG_DIR": str(tmp_path),
        "EDIT_STUDIO_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    run = subprocess.run([sys.executable, "-m", module], env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode != 0
    for part in (str(tmp_path / "wavespeed.toml"), "line 6", "models.flux-2-dev-edit.tier", "'budget', 'mid' or 'premium'"):
        assert part in run.stderr
