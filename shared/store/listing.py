"""Listings that are ordered by time, newest first: their cursors and their rows."""

import base64
import json
from typing import Any

from shared.errors import FieldError, ValidationFailed

_LATEST_MS = 1 << 53  #: Redis keeps scores as doubles


def write_cursor(created_ms: int, member: str) -> str:
    """What leads to the entries after this one."""
    return base64.urlsafe_b64encode(json.dumps([created_ms, member]).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None) -> tuple[int | None, str]:
    """Time and name of the last entry that the caller has; (None, "") to start. Raises ValidationFailed."""
    if cursor is None:
        return None, ""
    try:
        created_ms, member = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if type(created_ms) is not int or not 0 <= created_ms < _LATEST_MS or not str(member).isascii():
            raise ValueError(cursor)
        return created_ms, str(member)
    except (ValueError, TypeError):
        raise not_a_cursor() from None


def not_a_cursor() -> ValidationFailed:
    """The error for one that is not ours."""
    message = "not a cursor of this listing; leave it out to start from the newest"
    return ValidationFailed(message, errors=[FieldError("/cursor", "invalid_value", message)])


def scored(rows: Any) -> list[tuple[str, float]]:
    """ZRANGE WITHSCORES as pairs, whether the client paired them or not."""
    if rows and not isinstance(rows[0], (tuple, list)):
        return [(rows[i], float(rows[i + 1])) for i in range(0, len(rows), 2)]
    return [(member, float(score)) for member, score in rows]
