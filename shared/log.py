"""One structured line per event, on stderr. Prompts, pictures, keys and links are never logged."""

import json
import logging
import sys
from datetime import UTC, datetime

# `json.dumps` with options makes an encoder for every line.
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and whatever `extra` held."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
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
