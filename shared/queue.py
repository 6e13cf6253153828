"""The arq function by name, and how its arguments are written. Nothing is ever pickled.

A job is queued by the `accept` script and picked by the `take` script (`shared/store/scripts`); the worker hands it to arq's
function registry under this name.
"""

import json
from collections.abc import Collection
from typing import Any

from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import EditSpec
from shared.estimate import likely_model

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


def lane_of(spec: EditSpec, catalog: Catalog, providers_seen: Collection[str]) -> str:
    """The lane an edit waits in: the provider that will probably do it. The worker moves the edit where this was wrong.

    `providers_seen`: those that some live worker is configured for.
    """
    return lane_of_model(likely_model(spec, catalog, providers_seen), catalog)


def lane_of_model(model: Model | None, catalog: Catalog) -> str:
    """The lane for an edit that this model will probably do. None: any worker may say that nobody can, so one without a key."""
    if model is not None:
        return model.provider
    return next((name for name, entry in catalog.providers.items() if not entry.needs_key), "none")
