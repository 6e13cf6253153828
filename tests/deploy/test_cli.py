"""The command line: what it accepts, what it hands on, how it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.cli import _parser, _read
from deploy.standalone.environment import default_data_dir
from deploy.standalone.ports import PortUnusable, claim_port


def _run(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, "-P", "-m", "deploy.cli", *arguments)
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_the_version_is_told() -> None:
    assert _run("--version").stdout.startswith("edit-studio 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("up", "--port", "high"),
        ("up", "--port", "70000"),
        ("up", "--workers", "0"),
        ("up", "--wings"),
        ("demo", "extra"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_reason(arguments: tuple[str, ...]) -> None:
    ended = _run(*arguments)
    assert ended.returncode == 2
    assert "edit-studio" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("photos", "make it grey", "--model", "m"),
        ("photos", "--model", "m", "make it grey"),
        ("--model", "m", "photos", "make it grey"),
    ],
    ids=" ".join,
)
def test_a_batch_is_a_folder_and_then_a_prompt_wherever_options_stand(words: tuple[str, ...]) -> None:
    options, rest = _read(_parser(), ("batch", *words))
    assert (options.source, options.prompt, options.model, rest) == (Path("photos"), "make it grey", "m", [])


def test_a_word_too_many_for_a_batch_is_no_prompt() -> None:
    ended = _run("batch", "photos", "--recursive", "make it grey", "and red")
    assert ended.returncode == 2
    assert "unrecognized arguments: make it grey and red" in ended.stderr


def test_a_bad_setting_is_named_without_its_value(tmp_path: Path) -> None:
    ended = _run("up", "--data-dir", str(tmp_path), EDIT_STUDIO_WORKER_SLOTS="many-secret")
    assert ended.returncode == 1
    assert "EDIT_STUDIO_WORKER_SLOTS" in ended.stderr
    assert "many-secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = _run("up", "--data-dir", str(tmp_path / "file" / "data"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("edit-studio: cannot use the data folder")
    assert "Traceback" not in ended.stderr


def test_the_data_folder_follows_the_users_own_wish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir() == Path("/data/edit-studio")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        assert default_data_dir() == tmp_path / ".local" / "share" / "edit-studio"


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(PortUnusable, match=r"cannot listen on 192\.0\.2\.1: choose another --host"):
        claim_port("192.0.2.1", 0)
    with pytest.raises(PortUnusable, match=r"cannot listen on no-such-host\.invalid"):
        claim_port("no-such-host.invalid", 0)
