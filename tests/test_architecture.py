"""The rules of the tree: who imports whom, what is pure, what may be named where; formatters and type checker are clean."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.env_example import env_example
from shared.catalog.load import load_catalog
from shared.errors import error_classes

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "worker", "shared", "deploy")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PURE = (
    "shared/errors.py",
    "shared/edit.py",
    "shared/job.py",
    "shared/job_view.py",
    "shared/model_view.py",
    "shared/ids.py",
    "shared/picture.py",
    "shared/picture_blocks.py",
    "shared/picture_structure.py",
    "shared/pricing.py",
    "shared/parameters.py",
    "shared/receipt.py",
    "shared/redis_address.py",
    "shared/recommend.py",
    "shared/candidates.py",
    "shared/estimate.py",
    "shared/pinned.py",
    "shared/score.py",
    "shared/adjustment.py",
    "shared/adjustments.py",
    "shared/operations.py",
    "shared/signing.py",
    "shared/url_rules.py",
    "shared/catalog/model.py",
    "worker/canvas.py",
    "shared/geometry.py",
    "shared/mask.py",
    "worker/inspection.py",
    "worker/likeness.py",
    "worker/pixels.py",
    "worker/rewrap.py",
    "worker/retry.py",
)
IMPURE_MODULES = {"asyncio", "time", "os", "socket", "subprocess", "aiohttp", "redis", "boto3", "random", "secrets"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "util", "helper", "misc"}
ALLOWED_TOP = {"pyproject.toml", "README.md", "LICENSE", "worker", "gateway", "shared", "tests", "deploy"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every imported module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno}: relative import"
            assert node.module is not None
            yield node.lineno, node.module
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def ours(name: str) -> bool:
    return name.split(".")[0] in (*PACKAGES, "tests")


def may_import(path: str, name: str) -> bool:
    """Whether the tree's rules let the file at `path` import our module `name`."""
    package, target = path.split("/")[0], name.split(".")[0]
    if path.startswith("deploy/simulator/"):
        return name.startswith("deploy.simulator") or name == "deploy"
    if path.startswith("gateway/client/"):
        return name.startswith(("gateway.client", "shared.edit", "shared.signing")) or name in ("gateway", "shared")
    if package == "deploy":
        return target == "deploy" or name.startswith(("shared.settings", "gateway.client")) or name in ("shared", "gateway")
    if package == "shared":
        return target == "shared"
    return target in (package, "shared")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_go_only_where_the_tree_allows(path: Path) -> None:
    wrong = [f"{line}: {name}" for line, name in imports_of(path) if ours(name) and not may_import(relative(path), name)]
    assert not wrong, f"{relative(path)} imports {wrong}"


def test_the_wheel_ships_exactly_the_four_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert project["project"]["name"] == "edit-studio"


def test_nothing_but_the_fixed_entries_lies_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30)
    if listed.returncode != 0:
        pytest.skip("not a git checkout: what belongs to the project cannot be told from what lies there")
    found = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in found if not name.startswith(".")} <= ALLOWED_TOP


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_short_and_well_named(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert path.stem not in FORBIDDEN_NAMES
    if path.name == "__init__.py":
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, "a docstring and nothing else"
        assert isinstance(body[0], ast.Expr)
        assert isinstance(body[0].value, ast.Constant)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_do_no_io_and_know_no_clock(name: str) -> None:
    path = ROOT / name
    wrong = [f"{line}: {module}" for line, module in imports_of(path) if module.split(".")[0] in IMPURE_MODULES]
    tree = ast.parse(path.read_text())
    wrong += [f"{n.lineno}: await" for n in ast.walk(tree) if isinstance(n, (ast.Await, ast.AsyncFunctionDef))]
    clocks = {"now", "utcnow", "today"}
    wrong += [f"{n.lineno}: clock" for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in clocks]
    assert not wrong, f"{name}: {wrong}"


def test_only_the_settings_read_the_environment() -> None:
    may = {"shared/settings.py", "deploy/standalone/environment.py"}
    pattern = re.compile(r"os\.environ|os\.getenv")
    readers = {relative(path) for path in SOURCES if pattern.search(path.read_text())}
    assert readers <= may, "only settings.py reads it; environment.py hands it on to the processes that it starts"


def test_a_providers_name_stays_in_its_own_files() -> None:
    names = sorted(load_catalog().providers)
    wrong = []
    for path in SOURCES:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for name in names:
                own = re.fullmatch(rf"(worker/providers|deploy/simulator)/{name}(_\w+)?\.py", relative(path))
                # The free provider's name is also an everyday word: only quoted it is a name.
                quoted = re.search(rf"[\"']{name}[\"'-]", line, re.IGNORECASE)
                if quoted and not own:
                    wrong.append(f"{relative(path)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_every_error_code_belongs_to_one_class() -> None:
    codes = error_classes()
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in codes)
    assert len(set(codes.values())) == len(codes)


def test_env_example_is_what_the_settings_say() -> None:
    assert (ROOT / "deploy/env.example").read_text() == env_example(), "python -m deploy.env_example > deploy/env.example"


def test_pinned_requirements_name_no_index() -> None:
    lines = (ROOT / "deploy/constraints.txt").read_text().splitlines()
    wrong = [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]
    assert not wrong


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict", *PACKAGES]], ids=" ".join
)
def test_the_checkers_find_nothing(command: list[str]) -> None:
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
