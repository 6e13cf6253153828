"""Query parameters: text to the model that a route declares."""

import re
from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import Field, StringConstraints, ValidationError

from gateway.fields import Faults, field_errors, pointer_to, refusal
from gateway.route import Query

_RFC3339 = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$"
TimeText = Annotated[str, StringConstraints(pattern=_RFC3339), Field(description="RFC 3339 time")]
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


def milliseconds(text: str | None, pointer: str) -> int | None:
    """A TimeText as ms since 1970. Raises ValidationFailed where there is no such time."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise refusal(pointer, "invalid_value", "there is no such time") from None
