"""Log lines: one JSON object each, whatever was logged."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import JsonLines, start_logging


def _line(message: str, *args: object, level: int = logging.INFO, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("worker.test").makeRecord("worker.test", level, "file.py", 1, message, args, None, extra=extra)
    text = JsonLines().format(record)
    assert "\n" not in text
    line: dict[str, Any] = json.loads(text)
    return line


def test_a_line_holds_time_level_logger_message_and_extras() -> None:
    line = _line("an edit of %s failed", "t1", level=logging.WARNING, job_id="edit_1", lag_s=1.5)
    assert datetime.fromisoformat(line.pop("time")).tzinfo == UTC
    assert line == {
        "level": "warning",
        "logger": "worker.test",
        "message": "an edit of t1 failed",
        "job_id": "edit_1",
        "lag_s": 1.5,
    }


@given(st.text(), st.text(), st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text())))
def test_whatever_is_logged_is_one_line_of_json(message: str, word: str, value: object) -> None:
    line = _line("%s", message, word=word, value=value)
    assert line["message"] == message
    assert line["word"] == word


def test_an_exception_is_part_of_its_line() -> None:
    try:
        raise RuntimeError("broke\nin two")
    except RuntimeError:
        record = logging.LogRecord("a", logging.ERROR, "f.py", 1, "an edit broke", (), sys.exc_info())
    text = JsonLines().format(record)
    assert "\n" not in text
    assert "RuntimeError: broke\nin two" in json.loads(text)["exception"]


@pytest.fixture
def quiet_loggers() -> Iterator[None]:
    """Puts back what `start_logging` sets for the whole process."""
    names = ("arq", "botocore", "boto3", "urllib3", "asyncio", "aiohttp.access", "PIL")
    root = logging.getLogger()
    before = (root.level, root.handlers[:], [logging.getLogger(name).level for name in names])
    # `basicConfig(force=True)` would close pytest's own handlers.
    root.handlers = []
    yield
    root.level, root.handlers = before[0], before[1]
    for name, level in zip(names, before[2], strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.mark.usefixtures("quiet_loggers")
def test_lines_go_to_stderr_and_libraries_that_log_arguments_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("INFO")
    logging.getLogger("worker.call").info("chose a model", extra={"model": "m"})
    logging.getLogger("worker.call").debug("not shown")
    logging.getLogger("arq.worker").info("run_edit('edit_1', secret=…)")
    logging.getLogger("botocore.auth").info("signed with …")
    logging.getLogger("arq.worker").warning("slow")
    out, err = capsys.readouterr()
    assert out == ""
    assert [json.loads(line)["message"] for line in err.splitlines()] == ["chose a model", "slow"]
