from collections.abc import Callable
from pathlib import Path

import pytest

from shared.catalog.load import CatalogInvalid, load_catalog

NEW = """
[[models]]
id = "acme-retouch"
name = "Retouch"
description = "Retouches."
tier = "mid"
quality = "good"
path = "acme/retouch"
operations = ["general_edit"]
capabilities = ["general_edit"]
use_cases = ["Portraits"]
features = []
languages = ["en"]
size = { max_side = 2048 }
price = { usd = 0.05, source = "price list" }
source = "handbook"
"""
ACME = 'label = "Acme"\nneeds_key = true\n' + NEW

Write = Callable[[str, str], Path]


@pytest.fixture
def overlay(tmp_path: Path) -> Write:
    """Writes one file into the operator's folder; answers the folder."""

    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_the_shipped_catalogue_is_whole() -> None:
    catalog = load_catalog()
    assert list(catalog.models)[: len(catalog.providers["wavespeed"].models)]
    for name, entry in catalog.providers.items():
        assert entry.provider == name
        for model in entry.models:
            assert catalog.models[model.id] is model
            assert model.provider == name
            assert model.source
            assert model.price.source


def test_the_catalogue_cannot_be_changed() -> None:
    catalog = load_catalog()
    with pytest.raises(TypeError):
        catalog.models["x"] = catalog.models["qwen-edit"]  # type: ignore[index]


def test_sizes_and_formats_agree_with_the_declared_parameters() -> None:
    parameter_of = {"WxH": "size", "aspect_ratio": "aspect_ratio"}
    for model in load_catalog().providers["wavespeed"].models:
        if model.size.control in parameter_of:
            assert model.parameters[parameter_of[model.size.control]].field == "size"
        if model.size.control == "aspect_ratio":
            assert model.parameters["aspect_ratio"].enum == model.size.aspects
        if "output_format" in model.parameters:
            assert model.parameters["output_format"].enum == model.output_formats
        for parameter in model.parameters.values():
            assert not parameter.enum or parameter.default is None or parameter.default in parameter.enum


def test_an_operators_file_adds_a_provider(overlay: Write) -> None:
    catalog = load_catalog(overlay("acme.toml", ACME))
    assert catalog.models["acme-retouch"].provider == "acme"
    assert list(catalog.providers) == sorted([*load_catalog().providers, "acme"])


def test_an_operators_file_of_a_known_provider_changes_single_values_and_adds_models(overlay: Write) -> None:
    folder = overlay("wavespeed.toml", 'max_concurrent = 3\n[[models]]\nid = "qwen-edit"\nstatus = "retired"\n' + NEW)
    before, after = load_catalog(), load_catalog(folder)
    assert after.providers["wavespeed"].max_concurrent == 3
    assert after.models["qwen-edit"] == before.models["qwen-edit"].model_copy(update={"status": "retired"})
    assert [model.id for model in after.providers["wavespeed"].models] == [
        *(model.id for model in before.providers["wavespeed"].models),
        "acme-retouch",
    ]


@pytest.mark.parametrize(
    ("name", "text", "line", "field"),
    [
        ("acme.toml", ACME + "\nbroken = [", None, None),
        ("acme.toml", "label = \n", 1, None),
        ("acme.toml", ACME.replace('"mid"', '"huge"'), 8, "models.acme-retouch.tier"),
        ("acme.toml", ACME.replace('"mid"', '"mid"\ncolour = "red"'), 9, "models.acme-retouch.colour"),
        ("acme.toml", ACME.replace('path = "acme/retouch"\n', ""), 5, "models.acme-retouch.path"),
        ("acme.toml", ACME.replace("usd = 0.05", 'usd = "much"'), 17, "models.acme-retouch.price.usd"),
        (
            "acme.toml",
            ACME.replace('"general_edit"]\ncap', '"general_edit", "fly"]\ncap'),
            11,
            "models.acme-retouch.operations.1",
        ),
        ("acme.toml", NEW, None, "label"),
        ("acme.toml", ACME + NEW, 21, "models.acme-retouch"),
        ("acme.toml", ACME.replace('id = "acme-retouch"\n', ""), None, "models.id"),
        ("acme.toml", 'label = "Acme"\nneeds_key = true\nmodels = 5\n', 3, "models"),
        ("acme.toml", 'provider = "other"\n' + ACME, 1, "provider"),
        ("acme.toml", ACME.replace("acme-retouch", "qwen-edit"), None, "models.qwen-edit"),
        ("Acme Inc.toml", ACME, None, None),
        ("wavespeed.toml", '[[models]]\nid = "qwen-edit"\nstatus = "gone"\n', 3, "models.qwen-edit.status"),
    ],
)
def test_a_broken_file_is_named_with_line_and_field(
    overlay: Write, name: str, text: str, line: int | None, field: str | None
) -> None:
    folder = overlay(name, text)
    with pytest.raises(CatalogInvalid) as caught:
        load_catalog(folder)
    assert caught.value.file.endswith(".toml")
    assert caught.value.field == field
    if line is not None:
        assert caught.value.line == line
        assert f"line {line}" in str(caught.value)


def test_a_file_that_is_not_text_and_a_folder_that_is_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_bytes(b"\xff\xfe")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(CatalogInvalid, match=folder.name):
            load_catalog(folder)
