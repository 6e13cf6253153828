"""The arq function by name, and how its arguments are written. Nothing is ever pickled.

A job is queued by the `accept` script and picked by the `take` script (`shared/store/scripts`); the worker hands it to arq's
function registry under this name.
"""

import json
from collections.abc import Collection
from typing import Any

from shared.candidates import Circumstances
from shared.catalog.load import Catalog
from shared.edit import EditSpec
from shared.errors import NoCapableModel
from shared.recommend import recommend

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
    """The lane an edit waits in: the provider that will probably do it. The worker chooses; it moves the edit if it must.

    `providers_seen`: those that some live worker is configured for. When none fits, any worker may say so: the lane of a
    provider that needs no key.
    """
    info = spec.image.info
    try:
        now = Circumstances(configured=providers_seen, upright_size=info.upright_size if info else None)
        chosen = recommend(spec, catalog=catalog, now=now)
    except NoCapableModel:
        return next((name for name, entry in catalog.providers.items() if not entry.needs_key), "none")
    return chosen.model.provider
