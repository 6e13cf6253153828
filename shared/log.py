"""One structured line per event, on stderr, under the ids of the request, job and tenant that it is about.

Prompts, pictures, keys and links are never logged.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

# `json.dumps` with options makes an encoder for every line.
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)
_IDS: ContextVar[Mapping[str, str]] = ContextVar("logged_ids")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@contextmanager
def logging_under(**ids: str) -> Iterator[None]:
    """What is logged in the block, and by tasks begun in it, has these ids; those that are empty are left out."""
    before = _IDS.set({name: value for name, value in ids.items() if value})
    try:
        yield
    finally:
        _IDS.reset(before)


def log_under_too(**ids: str) -> None:
    """The rest of the block has these ids too."""
    _IDS.set({**logged_ids(), **ids})


def logged_ids() -> Mapping[str, str]:
    """The ids of the block around this."""
    return _IDS.get({})


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, the ids, and whatever `extra` held."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **logged_ids(),
        }
        line.update({name: value for name, value in record.__dict__.items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line)


def start_logging(level: str) -> None:
    """Send every logger's lines to stderr. arq's own lines hold arguments, so only its warnings pass."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("arq", "botocore", "boto3", "urllib3", "asyncio", "aiohttp.access", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
