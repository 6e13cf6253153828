"""ADDING_A_MODEL.md is true: who follows it block by block has an edit by the new model, at the price that the page gives it."""

import json
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from shared.catalog.load import CatalogInvalid, load_catalog
from tests.pages import ROOT, blocks, run, standing_up, write

BLOCKS = blocks(ROOT / "shared/catalog/ADDING_A_MODEL.md")


def test_the_page_is_followed_to_an_edit_by_the_new_model(tmp_path: Path) -> None:
    table, simulated, start, look, edit = BLOCKS
    model = tomllib.loads(table.text)["models"][0]
    assert model["id"] not in load_catalog().models
    for block in (table, simulated):
        write(block, tmp_path)
    variables = {"XDG_DATA_HOME": str(tmp_path / "share"), "EDIT_STUDIO_PORT": "0"}
    with standing_up(start.text, tmp_path, variables):
        said = run(look, tmp_path, variables)
        run(edit, tmp_path, variables)
    shown = len(load_catalog(tmp_path / "catalog").providers["wavespeed"].models)
    assert f"{shown} models" in said
    assert f"{model['id']} · {model['price']['usd']} USD" in said

    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert (receipt["status"], receipt["model"], receipt["provider"]) == ("succeeded", model["id"], "wavespeed")
    assert [(attempt["model"], attempt["outcome"]) for attempt in receipt["attempts"]] == [(model["id"], "succeeded")]
    assert receipt["cost"]["actual"] == receipt["cost"]["billed"] == model["price"]["usd"]
    assert receipt["choices"][0]["mode"] == "recommended"
    assert receipt["catalogue"][0]["price_source"] == model["price"]["source"]
    with Image.open(tmp_path / "cat.png") as picture:
        assert picture.size == (600, 400)


def test_a_mistake_in_the_table_is_named_with_its_line(tmp_path: Path) -> None:
    table = BLOCKS[0]
    write(table, tmp_path)
    file = tmp_path / table.detail
    file.write_text(table.text.replace('tier = "budget"', 'tier = "cheap"'))
    with pytest.raises(CatalogInvalid, match=r"wavespeed\.toml, line 5: models\.flux-2-flash-edit\.tier"):
        load_catalog(file.parent)
