"""The data folder: private, one stack at a time, secrets kept."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.standalone.data_dir import DataDir, DataDirUnusable, running_settings, write_private


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    first = DataDir(tmp_path / "data")
    with pytest.raises(DataDirUnusable, match=rf"in use by process {os.getpid()}\b"):
        DataDir(tmp_path / "data")
    first.close()
    DataDir(tmp_path / "data").close()


def test_a_folder_whose_user_was_killed_is_free_again(tmp_path: Path) -> None:
    code = f"import os; from deploy.standalone.data_dir import *; DataDir(Path({str(tmp_path)!r})); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    DataDir(tmp_path).close()


def test_a_file_in_the_place_of_the_folder_is_told_kindly(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataDirUnusable, match="cannot use the data folder"):
        DataDir(tmp_path / "data")


def test_secrets_are_kept_over_restarts_and_differ_between_folders(tmp_path: Path) -> None:
    def secrets_of(root: Path) -> tuple[str, ...]:
        data = DataDir(root)
        found = (data.secret(), data.redis_password(), *data.s3_keys())
        data.close()
        return found

    first = secrets_of(tmp_path / "one")
    assert secrets_of(tmp_path / "one") == first
    assert not set(first) & set(secrets_of(tmp_path / "two"))
    assert all(len(secret) >= 20 and "," not in secret and '"' not in secret for secret in first)


def test_nothing_in_it_is_readable_by_others(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.secret(), data.redis_password(), data.s3_keys(), data.s3_port()
    data.publish_settings({"NAME": "value"})
    files = [path for path in data.root.rglob("*") if path.is_file()]
    assert len(files) == 6
    assert {_mode(path) for path in files} == {0o600}
    assert {_mode(path) for path in [data.root, *(path for path in data.root.iterdir() if path.is_dir())]} == {0o700}
    data.close()


def test_a_secret_that_others_could_read_is_closed_again(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    secret = data.secret()
    (tmp_path / "secret").chmod(0o644)
    assert data.secret() == secret
    assert _mode(tmp_path / "secret") == 0o600
    data.close()


def test_the_s3_port_stays_unless_somebody_else_took_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    port = data.s3_port()
    assert data.s3_port() == port
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert data.s3_port() != port
    data.close()


def test_settings_are_offered_only_while_the_stack_runs(tmp_path: Path) -> None:
    assert running_settings(tmp_path / "absent") is None
    data = DataDir(tmp_path)
    assert running_settings(tmp_path) is None
    data.publish_settings({"NAME": "value"})
    assert running_settings(tmp_path) == {"NAME": "value"}
    data.close()
    write_private(tmp_path / "run" / "settings.json", "{}")
    assert running_settings(tmp_path) is None


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.log("gateway").write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    assert not data.log("gateway").exists()
    assert (tmp_path / "logs" / "gateway.log.1").stat().st_size > 10 * 1024 * 1024
    data.close()
