"""The README is true: its tables are what the code says, its snippets run as they stand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import blocks, run, standing_up
from tests.readme_tables import README, filled

SNIPPETS = blocks(README)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`edit-studio up`; answers the variables that the snippets use."""
    folder = tmp_path_factory.mktemp("readme")
    with standing_up("edit-studio up --port 0 --workers 1 --data-dir data", folder, {}) as address:
        yield {"DATA_DIR": str(folder / "data"), "PORT": address.rpartition(":")[2]}


def test_the_tables_are_what_the_code_says() -> None:
    assert README.read_text() == filled(README.read_text()), "python -m tests.readme_tables"


def test_there_are_snippets_of_every_way_to_hear_of_a_result() -> None:
    assert [snippet.detail for snippet in SNIPPETS] == ["sh", "sh", "sh", "sh", "python", "python", "sh", "python"]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int, stack: dict[str, str], tmp_path: Path) -> None:
    said = run(SNIPPETS[number], tmp_path, stack)
    expected = {0: "succeeded", 1: "True 400 600 data:image/png;base64,", 2: "whsec_"}
    expected[3] = "trip/rocket.jpg,trip/rocket.jpg,trip/rocket.jpg,succeeded,,0.0,local-adjust"
    expected[4] = "brighter.png local-adjust 0.0\n/model: there is no model 'local-adjusd'; did you mean local-adjust"
    expected |= {5: "succeeded\n", 6: "succeeded\nlocal-background\n"}
    expected[7] = "600x400 local-adjust\nleft 400x600\nright 400x600\n"
    assert expected[number] in said
