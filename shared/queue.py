"""The arq function by name, and how its arguments are written. Nothing is ever pickled.

A job is queued by the `accept` script and picked by the `take` script (`shared/store/scripts`); the worker hands it to arq's
function registry under this name.
"""

import json
from collections.abc import Collection
from typing import Any

from shared.adjustments import parse
from shared.candidates import EXACT
from shared.catalog.load import Catalog
from shared.edit import EditSpec, Operation
from shared.parameters import TURNABLE, unsupported

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
    """The lane an edit waits in: the provider that will probably do it, told from operation, options and base price alone.

    The worker chooses with all that it knows, and moves the edit where this was wrong; the gateway has no time for it.
    `providers_seen`: those that some live worker is configured for. When none fits, any worker may say so: the lane of a
    provider that needs no key.
    """
    if spec.model is not None and spec.model in catalog.models:
        return catalog.models[spec.model].provider
    turned = spec.strict and bool(spec.options or any(getattr(spec, name) is not None for name in TURNABLE))
    able = [
        model
        for model in catalog.models.values()
        if spec.operation in model.operations
        and model.status == "active"
        and model.provider in providers_seen
        and spec.provider in (None, model.provider)
        and not (turned and unsupported(spec, model))
    ]
    if spec.operation is Operation.GENERAL_EDIT and any(EXACT in model.capabilities for model in able):
        exact = parse(spec.prompt or "") is not None
        able = [model for model in able if (EXACT in model.capabilities) == exact] or able
    if not able:
        return next((name for name, entry in catalog.providers.items() if not entry.needs_key), "none")
    return min(able, key=lambda model: (model.quality == "basic", model.price.base)).provider
