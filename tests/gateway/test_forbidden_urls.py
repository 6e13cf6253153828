"""No field of any route takes a URL to a forbidden place, however it is spelled; the fields are found from the models."""

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from gateway.app import all_routes
from shared.job import API_PREFIX, JobState
from tests.forbidden_urls import HOSTS, URLS
from tests.gateway.batch_calls import results_of, send
from tests.gateway.body_corpus import WISH
from tests.gateway.conftest import Answer, Api
from tests.gateway.corpus_run import unhurried

pytestmark = pytest.mark.usefixtures("no_access_log")
GOOD = "https://public.example/picture"
FORBIDDEN = (*(f"http://{host}/x" for host in HOSTS), *URLS)
#: What names may be called that hold a URL; one that is declared as another text is found all the same.
_NAMES = ("url", "uri", "href", "link", "callback", "webhook", "endpoint")
_PICTURES = ("image_url", "mask_url", "background_image_url", "lighting_image_url", "reference_images/0/url", "webhook_url")
#: Every field that takes a URL, by route.
FIELDS: dict[str, tuple[str, ...]] = {
    "POST /process": _PICTURES,
    "POST /quote": _PICTURES,
    "POST /batches": (
        "webhook_url",
        *(f"defaults/{name}" for name in _PICTURES),
        *(f"items/0/{name}" for name in _PICTURES),
    ),
    "POST /jobs/{id}/retry": ("webhook_url",),
    "POST /webhooks/endpoints": ("url",),
    "PATCH /webhooks/endpoints/{id}": ("url",),
    "POST /webhooks/test": ("url",),
}
#: Held until it has ended, in OpenAI's own words.
OPENAI = {"POST /openai/v1/images/edits": ("image/0/image_url", "image/image_url", "images/0/image_url", "mask/image_url")}
#: Names like those above that hold something else.
OTHERS = {"POST /webhooks/replay": ("endpoint",), "GET /webhooks/deliveries": ("endpoint",)}


def fields_with_urls(schema: dict[str, Any], definitions: dict[str, Any], path: str = "") -> Iterator[str]:
    """Where a JSON document of this schema may hold a URL; the first item stands for all of an array."""
    if "$ref" in schema:
        yield from fields_with_urls(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions, path)
    for option in schema.get("anyOf", ()):
        yield from fields_with_urls(option, definitions, path)
    for name, entry in schema.get("properties", {}).items():
        yield from fields_with_urls(entry, definitions, f"{path}/{name}".lstrip("/"))
    if "items" in schema:
        yield from fields_with_urls(schema["items"], definitions, f"{path}/0")
    is_text = schema.get("type") == "string" and "enum" not in schema and "const" not in schema
    if is_text and ("http" in schema.get("pattern", "") or path.rpartition("/")[2].rpartition("_")[2] in _NAMES):
        yield path


def test_every_field_that_takes_a_url_is_in_the_table() -> None:
    found: dict[str, tuple[str, ...]] = {}
    for route in all_routes():
        models = [route.query, *([route.body.model] if route.body is not None and route.body.model is not None else [])]
        schemas = [model.model_json_schema() for model in models]
        fields = {name for schema in schemas for name in fields_with_urls(schema, schema.get("$defs", {}))}
        if fields:
            found[f"{route.method} {route.path.removeprefix(API_PREFIX)}"] = tuple(sorted(fields))
    assert found == {label: tuple(sorted(fields)) for label, fields in {**FIELDS, **OPENAI, **OTHERS}.items()}


def wish_with(field: str, url: str) -> dict[str, Any]:
    """An edit that is good if `url` is."""
    name = field.partition("/")[0]
    operation = {"mask_url": "inpaint", "background_image_url": "relight", "lighting_image_url": "relight"}.get(
        name, "general_edit"
    )
    wish = {"image_url": GOOD, "prompt": "a lamp", "operation": operation}
    return {**wish, name: [{"url": url}] if name == "reference_images" else url}


def document_with(label: str, field: str, url: str) -> dict[str, Any]:
    """A body that is good if `url`, at this place, is."""
    if label.startswith("POST /batches"):
        where, _, inner = field.partition("/")
        if where == "webhook_url":
            return {"items": [wish_with("image_url", GOOD)], "webhook_url": url}
        wish = wish_with(inner.removeprefix("0/"), url)
        return (
            {"all_or_nothing": True, "items": [wish]}
            if where == "items"
            else {"all_or_nothing": True, "defaults": wish, "items": [{}]}
        )
    if label in ("POST /process", "POST /quote"):
        return wish_with(field, url) | ({"image_resolution": {"width": 600, "height": 400}} if label == "POST /quote" else {})
    return {field: url}


def is_refused(answer: Answer, field: str) -> bool:
    """For this field, and for nothing else."""
    if answer.status != 422 or len(answer.json.get("errors", ())) != 1:
        return False
    (error,) = answer.json["errors"]
    # What the defaults give is refused where it is used; and of a reference, the whole of it is told.
    place = field.removeprefix("defaults/")
    ends = ("/" + place, "/" + place.removesuffix("/url"))
    return error["code"] == "url_not_allowed" and str(error["pointer"]).endswith(ends)


async def path_of(api: Api, label: str) -> str:
    """With the id of something that is there."""
    path = label.split(" ")[1]
    if "endpoints/{id}" in path:
        return path.replace("{id}", (await api.post("/webhooks/endpoints", json={"url": GOOD})).json["id"])
    if "jobs/{id}" in path:
        job = (await api.post("/process", json=WISH)).json
        await api.finish(job["id"], state=JobState.FAILED)
        return path.replace("{id}", job["id"])
    return path


async def what_is_there(api: Api) -> list[Any]:
    """Pictures, edits, batches, endpoints, deliveries."""
    lists = [(await api.get(path)).json for path in ("/batches", "/webhooks/endpoints", "/webhooks/deliveries")]
    return [await api.stored(), *lists]


@unhurried
@pytest.mark.parametrize(("label", "field"), [(label, field) for label, fields in FIELDS.items() for field in fields])
async def test_no_spelling_of_a_forbidden_place_is_taken(api: Api, label: str, field: str) -> None:
    method, path = label.split(" ")[0], await path_of(api, label)
    before = await what_is_there(api)
    taken = []
    # Items are sent in every spelling as lines, below.
    for url in FORBIDDEN[::10] if field.startswith("items") else FORBIDDEN:
        answer = await api.call(method, path, json=document_with(label, field, url))
        if not is_refused(answer, field):
            taken.append((url, answer.status, answer.body))
    assert taken == []
    assert await what_is_there(api) == before
    # The URL was all that was wrong. A quote names a model, and no worker is here who could say that he has one.
    answer = await api.call(method, path, json=document_with(label, field, GOOD))
    assert answer.status in (200, 201, 202) or (label, answer.json["code"]) == ("POST /quote", "no_capable_model")


@unhurried
@pytest.mark.parametrize("field", OPENAI["POST /openai/v1/images/edits"])
async def test_no_picture_of_openais_route_lies_there(api: Api, field: str) -> None:
    name, *inner = field.split("/")
    taken = []
    for url in FORBIDDEN:
        body = {"prompt": "a lamp", **({"image": {"image_url": GOOD}} if name == "mask" else {})}
        answer = await api.post(
            "//openai/v1/images/edits", json=body | {name: [{"image_url": url}] if "0" in inner else {"image_url": url}}
        )
        # What begins with neither http: nor https: is no address here, but a data URI or base64.
        if answer.status != 400 or answer.json["error"]["code"] not in ("url_not_allowed", "invalid_base64", "not_a_picture"):
            taken.append((url, answer.status, answer.body))
    assert taken == []
    assert await api.stored() == ([], 0)


@unhurried
@pytest.mark.parametrize("field", _PICTURES)
async def test_no_line_of_a_batch_takes_one(api: Api, field: str) -> None:
    urls = (*FORBIDDEN, GOOD)
    for batch in (
        await send(api, [wish_with(field, url) for url in urls]),
        await send(api, [{}] * len(FORBIDDEN) + [wish_with(field, GOOD)], defaults=wish_with(field, FORBIDDEN[0])),
    ):
        assert (batch.json["counts"]["failed"], batch.json["counts"]["queued"]) == (len(FORBIDDEN), 1)
        failed = [job["error"] for job in await results_of(api, batch.json["id"]) if job["status"] == "failed"]
        assert {error["code"] for error in failed} == {"url_not_allowed"}
    assert await api.connections.storage.keys_under("") == []


@unhurried
@pytest.mark.parametrize("field", _PICTURES)
async def test_no_part_of_a_form_takes_one(api: Api, field: str) -> None:
    async def answer_to(url: str) -> Answer:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in wish_with(field, url).items()}
        form = aiohttp.FormData(texts, default_to_multipart=True)
        return await api.post("/process", data=form)

    # The texts of a form become the JSON that the tests above send; not each spelling has to be sent again.
    assert [url for url in FORBIDDEN[::10] if not is_refused(await answer_to(url), field)] == []
    assert await api.stored() == ([], 0)
    assert (await answer_to(GOOD)).status == 202
