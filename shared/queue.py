"""The arq function by name, and how its arguments are written. Nothing is ever pickled.

A job is queued by the `accept` script and picked by the `take` script (`shared/store/scripts`); the worker hands it to arq's
function registry under this name.
"""

import json
from typing import Any

RUN_EDIT = "run_edit"  #: run_edit(ctx, record: JobRecord)


def serialize(value: dict[str, Any]) -> bytes:
    """arq's job serializer: JSON instead of its default, pickle, which lets whoever can write to Redis run code."""
    return json.dumps(value, separators=(",", ":")).encode()


def deserialize(data: bytes) -> dict[str, Any]:
    """The inverse of `serialize`. Raises ValueError for anything that is not a JSON object."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
