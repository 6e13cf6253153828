"""What is mounted is what is documented, and it says what is true."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway import document_words
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
    mounted -= {
        (method, path) for method, path in mounted if path.startswith(("/studio", "/docs"))
    }  # Pages are no part of the API.
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


async def test_every_field_and_parameter_is_described(api: Api) -> None:
    whole = await document(api)
    schemas = whole["components"]["schemas"]
    fields = [(model, name, entry) for model, schema in schemas.items() for name, entry in schema.get("properties", {}).items()]
    bare = [f"{model}.{name}" for model, name, entry in fields if not entry.get("description")]
    for path, item in whole["paths"].items():
        for method, entry in item.items():
            bare += [f"{method} {path} {found['name']}" for found in entry["parameters"] if not found.get("description")]
    assert bare == []


async def test_no_word_is_said_for_nothing(api: Api) -> None:
    whole = await document(api)
    schemas = whole["components"]["schemas"]
    fields = {(model, name) for model, schema in schemas.items() for name in schema.get("properties", {})}
    names = {name for _, name in fields} | {f"{model}.{name}" for model, name in fields}
    words = tomllib.loads((Path(document_words.__file__).parent / "document_words.toml").read_text())
    assert words["fields"].keys() - names == set()
    parameters = {
        found["name"] if found["in"] == "query" else f"{path.partition('/{')[0].rpartition('/')[2]}.{found['name']}"
        for path, item in whole["paths"].items()
        for entry in item.values()
        for found in entry["parameters"]
        if found["in"] != "header"
    }
    assert words["parameters"].keys() - parameters == set()


async def test_every_json_answer_has_an_example_that_fits_its_schema(api: Api) -> None:
    whole = await document(api)
    shown = 0
    for path, item in whole["paths"].items():
        for method, entry in item.items():
            answers = [answer for status, answer in entry["responses"].items() if status.startswith("2")]
            contents = [
                answer["content"]["application/json"] for answer in answers if "application/json" in answer.get("content", {})
            ]
            if not contents or path in ("/openapi.json", "/openai/v1/files/{id}/content"):
                continue
            examples = [content for content in contents if "example" in content]
            assert examples, f"{method} {path}: run python -m tests.record_examples"
            for content in examples:
                schema = {**content["schema"], "components": whole["components"]}
                Draft202012Validator(schema).validate(content["example"])
                shown += 1
    assert shown > 40


async def test_every_json_body_has_an_example_that_is_taken(api: Api) -> None:
    for route in all_routes():
        if route.body is None or route.body.model is None:
            continue
        entry = (await document(api))["paths"][route.path][route.method.lower()]
        examples = entry["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            route.body.model.model_validate_json(json.dumps(example["value"]))


async def test_headers_of_answers_are_documented(api: Api) -> None:
    answer = await api.post("/process", json={"prompt": "x"})
    entry = (await document(api))["paths"]["/api/image-studio/edit/process"]["post"]
    documented = {name.lower() for name in entry["responses"][str(answer.status)]["headers"]}
    assert {name.lower() for name in answer.headers} - documented == {"content-type", "content-length", "date", "server"}
