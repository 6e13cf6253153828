"""ADDING_A_PROVIDER.md is true: in a copy of the repository with the page's files, the contract suite passes for its provider."""

import re
import shutil
from pathlib import Path

from tests.pages import ROOT, blocks, run, write

_FIRST_SUBJECT = "SUBJECTS: Mapping[str, Subject] = {\n"


def test_the_page_is_followed_to_a_provider_that_keeps_the_contract(tmp_path: Path) -> None:
    for name in ("shared", "worker", "gateway", "deploy", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    *files, entry, check = blocks(ROOT / "worker/providers/ADDING_A_PROVIDER.md")
    for file in files:
        assert not (tmp_path / file.detail).exists()
        write(file, tmp_path)
    subjects = tmp_path / entry.detail
    before, found, after = subjects.read_text().partition(_FIRST_SUBJECT)
    assert found
    subjects.write_text(before + found + entry.text + after)

    said = run(check, tmp_path, {"PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": "-p no:cacheprovider"})
    (passed,) = re.findall(r"^(\d+) passed, \d+ deselected in", said, re.MULTILINE)
    assert int(passed) > 40, said
