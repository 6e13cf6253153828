"""Query parameters: text to the model that a route declares."""

import re

from aiohttp import web
from pydantic import ValidationError

from gateway.fields import Faults, field_errors, pointer_to
from gateway.route import Query

_DEEP = re.compile(r"([A-Za-z_]+)\[([^\]]{1,64})\]")


def read_query(request: web.Request, model: type[Query]) -> Query:
    """The request's parameters. `metadata[k]=v` gives the mapping `metadata`. Raises ValidationFailed."""
    faults = Faults()
    given: dict[str, str | dict[str, str]] = {}
    for name, text in request.query.items():
        deep = _DEEP.fullmatch(name)
        if deep is not None and name not in model.model_fields:
            inner = given.setdefault(deep[1], {})
            if isinstance(inner, dict):
                inner[deep[2]] = text
        elif name in given:
            faults.add(pointer_to(name), "invalid_value", "this parameter comes twice")
        else:
            given[name] = text
    try:
        query = model.model_validate_strings(given)
    except ValidationError as error:
        faults.extend(field_errors(error, model))
    faults.raise_any()
    return query
