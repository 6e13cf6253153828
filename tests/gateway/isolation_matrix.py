"""Every route of the gateway, with all the ways in which something of another tenant can be named in a request to it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.gateway.isolation_world import B64, OWNER, PNG, WISH, World

_SINCE = "2000-01-01T00:00:00Z"


def nothing(world: World) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Probe:
    """One request. `names`: what of the first tenant takes the place of `{id}` in its path, query and body, one by one.

    `answers`: the statuses of a request that names nothing, which is then only searched for what it must not tell.
    """

    names: Callable[[World], Iterable[str]] = nothing
    body: Any = None
    data: bytes | None = None
    kind: str = "application/octet-stream"
    query: str = ""
    headers: Callable[[World], Mapping[str, str]] = field(default=lambda world: {})
    answers: tuple[int, ...] = (200,)


def edits(world: World) -> Iterable[str]:
    return (*world.edits.values(), *world.items.values())


def pictures(world: World) -> Iterable[str]:
    return (*edits(world), *world.uploads.values())


def batches(world: World) -> Iterable[str]:
    return world.batches.values()


def files(world: World) -> Iterable[str]:
    return world.files.values()


def knows(name: str) -> Callable[[World], Mapping[str, str]]:
    return lambda world: {"If-None-Match": world.etags[name], "Range": "bytes=0-9"}


def cursor_of(path: str) -> Probe:
    return Probe(lambda world: [world.cursors[path]], query="cursor={id}&limit=100")


PROMPT = {"prompt": "make it black and white"}
_LINES = b'{"defaults": {"prompt": "a hat"}, "all_or_nothing": true}\n{"image_id": "{id}"}\n'
_PICTURES = (
    Probe(pictures, body={"image_id": "{id}", **PROMPT}),
    Probe(pictures, body={**WISH, "mask_id": "{id}"}),
    Probe(pictures, body={**WISH, "operation": "relight", "background_image_id": "{id}"}),
    Probe(pictures, body={**WISH, "operation": "relight", "lighting_image_id": "{id}"}),
    Probe(pictures, body={**WISH, "reference_images": [{"id": "{id}"}]}),
)
_EDIT, _BATCH, _EMPTY = (Probe(edits),), (Probe(batches),), (Probe(),)
_ENDPOINT = Probe(lambda world: [world.endpoint])
_TENANT, _KEY = Probe(lambda world: [OWNER]), Probe(lambda world: [world.key.id])
_FILE = (Probe(files),)
_BATCH_OF_FILE = {"input_file_id": "{id}", "endpoint": "/v1/images/edits", "completion_window": "24h"}

MATRIX: dict[str, tuple[Probe, ...]] = {
    "GET /models": _EMPTY,
    "GET /models/{id}": (Probe(answers=(404,)),),
    "POST /recommend": (Probe(body=PROMPT, answers=(200, 422)),),
    "POST /quote": _PICTURES,
    "POST /process": (*_PICTURES, Probe(lambda world: [world.quote], body={**WISH, "model": "local-adjust", "quote_id": "{id}"})),
    "GET /jobs/{id}": (*_EDIT, Probe(edits, query="wait=1"), Probe(edits, headers=knows(""))),
    "GET /jobs": (*_EMPTY, Probe(batches, query="batch_id={id}"), cursor_of("/jobs")),
    "POST /jobs/{id}/cancel": _EDIT,
    "POST /jobs/{id}/retry": (Probe(edits, body={}), Probe(edits, body=PROMPT, query="wait=1")),
    "DELETE /jobs/{id}": _EDIT,
    "GET /jobs/{id}/result": (*_EDIT, Probe(edits, query="redirect=1"), Probe(edits, headers=knows("/result"))),
    "GET /jobs/{id}/thumbnail": (*_EDIT, Probe(edits, headers=knows("/thumbnail"))),
    "GET /jobs/{id}/input": (*_EDIT, Probe(edits, headers=knows("/input"))),
    "GET /jobs/{id}/receipt": _EDIT,
    "POST /jobs/{id}/feedback": (Probe(edits, body={"rating": 1}),),
    "GET /jobs/{id}/events": (*_EDIT, Probe(edits, headers=lambda world: {"Last-Event-ID": "3"})),
    "POST /batches": (
        Probe(pictures, body={"items": [{"image_id": "{id}", **PROMPT}], "all_or_nothing": True}),
        Probe(pictures, body={"items": [PROMPT], "defaults": {"image_id": "{id}"}, "all_or_nothing": True}),
        Probe(pictures, data=_LINES, kind="application/x-ndjson"),
    ),
    "GET /batches": (*_EMPTY, cursor_of("/batches")),
    "GET /batches/{id}": (*_BATCH, Probe(batches, query="wait=1")),
    "POST /batches/{id}/cancel": _BATCH,
    "POST /batches/{id}/release": (Probe(batches, body={}), Probe(batches, body={"max_cost": 5})),
    "POST /batches/{id}/retry-failed": _BATCH,
    "GET /batches/{id}/items": (*_BATCH, Probe(batches, query="cursor=1&status=failed")),
    "GET /batches/{id}/results": _BATCH,
    "GET /batches/{id}/archive": _BATCH,
    "GET /batches/{id}/events": _BATCH,
    "POST /uploads": (Probe(answers=(201,)),),
    "PUT /uploads/{id}/content": (Probe(lambda world: world.uploads.values(), data=PNG),),
    "GET /webhooks/secret": _EMPTY,
    "POST /webhooks/secret": _EMPTY,
    "POST /webhooks/secret/rotate": _EMPTY,
    "POST /webhooks/test": (Probe(body={"url": "https://other.example/"}, answers=(202,)),),
    "GET /jobs/{id}/deliveries": _EDIT,
    "POST /deliveries/{id}/replay": (Probe(lambda world: [world.delivery]),),
    "GET /webhooks/deliveries": (
        *_EMPTY,
        Probe(lambda world: [world.endpoint], query="endpoint={id}"),
        cursor_of("/webhooks/deliveries"),
    ),
    "POST /webhooks/replay": (
        Probe(body={"since": _SINCE}, answers=(202,)),
        Probe(lambda world: [world.endpoint], body={"since": _SINCE, "endpoint": "{id}"}),
        Probe(lambda world: [world.cursors["/webhooks/deliveries"]], body={"since": _SINCE, "cursor": "{id}"}),
    ),
    "POST /webhooks/endpoints": (Probe(body={"url": "https://other.example/"}, answers=(201,)),),
    "GET /webhooks/endpoints": _EMPTY,
    "GET /webhooks/endpoints/{id}": (_ENDPOINT,),
    "PATCH /webhooks/endpoints/{id}": (Probe(_ENDPOINT.names, body={"enabled": False, "url": "https://other.example/"}),),
    "DELETE /webhooks/endpoints/{id}": (_ENDPOINT,),
    "GET /events": (*_EMPTY, Probe(query="expand=true"), Probe(lambda world: [world.cursors["/events"]], query="after={id}")),
    "GET /usage": (Probe(query="group_by=day,model,key"), Probe(query="format=csv&group_by=key")),
    "GET /operations": _EMPTY,
    "GET /errors": _EMPTY,
    "GET /limits": _EMPTY,
    "GET /admin/tenants": (Probe(answers=(403,)),),
    "GET /admin/tenants/{id}": (_TENANT,),
    "PUT /admin/tenants/{id}": (Probe(_TENANT.names, body={"weight": 5}),),
    "PATCH /admin/tenants/{id}": (Probe(_TENANT.names, body={"daily_limit": 0}),),
    "GET /admin/keys": (Probe(answers=(403,)), Probe(_TENANT.names, query="tenant={id}")),
    "POST /admin/keys": (Probe(_TENANT.names, body={"tenant": "{id}"}),),
    "DELETE /admin/keys/{id}": (_KEY,),
    "POST /openai/v1/images/edits": (
        Probe(files, body={**PROMPT, "image": {"file_id": "{id}"}}),
        Probe(files, body={**PROMPT, "image": B64, "mask": {"file_id": "{id}"}}),
        Probe(files, body={**PROMPT, "image": [B64, {"file_id": "{id}"}]}),
    ),
    "GET /openai/v1/models": _EMPTY,
    "GET /openai/v1/models/{id}": (Probe(answers=(404,)),),
    "POST /openai/v1/files": (Probe(data=b"nothing", answers=(400,)),),
    "GET /openai/v1/files": (*_EMPTY, Probe(files, query="after={id}")),
    "GET /openai/v1/files/{id}": _FILE,
    "GET /openai/v1/files/{id}/content": _FILE,
    "DELETE /openai/v1/files/{id}": _FILE,
    "POST /openai/v1/batches": (Probe(files, body=_BATCH_OF_FILE),),
    "GET /openai/v1/batches": (*_EMPTY, Probe(batches, query="after={id}")),
    "GET /openai/v1/batches/{id}": _BATCH,
    "POST /openai/v1/batches/{id}/cancel": _BATCH,
    "POST /login": (Probe(body={"code": "nobody's"}, answers=(401,)),),
    "POST /logout": (Probe(answers=(204,)),),
    "GET /healthz": _EMPTY,
    "GET /readyz": _EMPTY,
    "GET /metrics": _EMPTY,
    "GET /openapi.json": _EMPTY,
}
