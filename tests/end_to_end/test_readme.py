"""The README is true: its tables are what the code says, its snippets run as they stand."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.readme_tables import README, ROOT, filled

_READY_S = 60.0
_SNIPPET_S = 60.0
SNIPPETS = re.findall(r"<!-- run: (sh|python) -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`edit-studio up`; answers the variables that the snippets use."""
    data = tmp_path_factory.mktemp("readme") / "data"
    command = [sys.executable, "-m", "deploy.cli", "up", "--port", "0", "--workers", "1", "--data-dir", str(data)]
    log = data.parent / "up.log"
    with log.open("wb") as out:
        up = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _READY_S
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())) or "is running" not in log.read_text():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield {"DATA_DIR": str(data), "PORT": found[1]}
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(30)


def test_the_tables_are_what_the_code_says() -> None:
    assert README.read_text() == filled(README.read_text()), "python -m tests.readme_tables"


def test_there_are_snippets_of_every_way_to_hear_of_a_result() -> None:
    assert [kind for kind, _ in SNIPPETS] == ["sh", "sh", "sh", "python", "sh"]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs(number: int, stack: dict[str, str], tmp_path: Path) -> None:
    kind, text = SNIPPETS[number]
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **stack, "PATH": path, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=_SNIPPET_S)
    assert run.returncode == 0, run.stdout + run.stderr
    expected = {0: "succeeded", 1: "True 400 600 data:image/png;base64,", 2: "whsec_", 3: "succeeded local-adjust 0.0"}
    expected[4] = "trip/rocket.jpg,trip/rocket.jpg,trip/rocket.jpg,succeeded,,0.0,local-adjust"
    assert expected[number] in run.stdout
