"""What is mounted is what is documented, and it says what is true."""

import re
from typing import Any

import pytest

from gateway.app import all_routes, create_app
from shared.catalog.load import load_catalog
from shared.errors import EditStudioError, error_classes
from shared.operations import OPERATIONS
from shared.settings import Settings
from tests.gateway.conftest import Api


async def document(api: Api) -> Any:
    return (await api.get("//openapi.json")).json


async def test_every_mounted_route_is_documented(api: Api, settings: Settings) -> None:
    documented = {(method.upper(), path) for path, item in (await document(api))["paths"].items() for method in item}
    mounted = {(route.method, route.resource.canonical) for route in create_app(settings).router.routes() if route.resource}
    mounted -= {("GET", "/studio"), ("GET", "/studio/static/{digest}/{name}")}  # The page is no part of the API.
    assert mounted == documented
    assert ("POST", "/api/image-studio/edit/process") in mounted


async def test_every_reference_leads_somewhere(api: Api) -> None:
    whole = await document(api)
    found = set(re.findall(r"#/components/schemas/(\w+)", str(whole)))
    assert found <= set(whole["components"]["schemas"])
    assert {"EditRequest", "Job", "Problem"} <= found


async def test_names_of_operations_are_unique(api: Api) -> None:
    names = [entry["operationId"] for item in (await document(api))["paths"].values() for entry in item.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("route", all_routes(), ids=lambda route: f"{route.method} {route.path}")
def test_every_declared_error_is_in_the_table(route: Any) -> None:
    table = error_classes()
    for cls in route.all_errors:
        assert issubclass(cls, EditStudioError)
        assert table[cls.code] is cls


async def test_the_submit_says_what_it_takes(api: Api) -> None:
    whole = await document(api)
    submit = whole["paths"]["/api/image-studio/edit/process"]["post"]
    form = submit["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["image"] == {"type": "string", "format": "binary"}
    assert form["properties"]["reference_images"]["items"] == {"type": "string", "format": "binary"}
    assert whole["components"]["schemas"]["EditRequest"]["additionalProperties"] is False
    assert "idempotency_mismatch" in submit["responses"]["422"]["x-codes"]
    assert {parameter["name"] for parameter in submit["parameters"]} == {"wait", "Idempotency-Key", "Prefer"}


async def test_the_example_can_be_sent_as_it_is(api: Api) -> None:
    submit = (await document(api))["paths"]["/api/image-studio/edit/process"]["post"]
    for example in submit["requestBody"]["content"]["application/json"]["examples"].values():
        assert (await api.post("/process", json=example["value"])).status == 202


async def test_operations_errors_and_limits_are_published(api: Api) -> None:
    operations = (await api.get("/operations")).json["operations"]
    assert [entry["id"] for entry in operations] == [operation.value for operation in OPERATIONS]
    models = load_catalog().models
    assert operations[0]["models"] == [model.id for model in models.values() if "general_edit" in model.operations]
    assert operations[1]["fields"]["required"] == ["image", "mask", "prompt"]
    errors = (await api.get("/errors")).json["errors"]
    assert {entry["code"]: entry["status"] for entry in errors} == {code: cls.status for code, cls in error_classes().items()}
    limits = (await api.get("/limits")).json
    assert (limits["body_max_bytes"], limits["image_max_side"], limits["metadata_max_pairs"]) == (33_554_432, 16_384, 16)
