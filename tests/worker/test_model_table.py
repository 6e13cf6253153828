"""Every model with every operation of it: whole edits on the simulator, and what the simulator was sent for them."""

import json
from typing import Any

import pytest

from shared.catalog.load import load_catalog
from tests.model_pairs import all_pairs
from tests.model_table import BODIES, COMMAND, PAGE, bodies, table
from tests.readme_tables import placed
from tests.servers import RedisServer, S3Server
from tests.simulated_run import run_pairs
from tests.vendor_parameters import declared_paths, faults_of

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(BODIES.read_text())


@pytest.mark.usefixtures("real_redis")
async def test_every_model_does_each_of_its_operations_as_its_page_says(redis_server: RedisServer, s3_server: S3Server) -> None:
    """The sizes, the price and nothing undeclared; and the very bodies that were recorded when somebody last looked at them."""
    pairs = all_pairs(load_catalog())
    assert len(pairs) >= 36
    found = await run_pairs(pairs, {**redis_server.settings, **s3_server.settings})
    assert {ran.pair.name: faults for ran in found if (faults := ran.faults())} == {}
    made = bodies(found)
    assert made.keys() == RECORDED.keys(), f"{COMMAND} --record"
    for name, body in made.items():
        assert body == RECORDED[name], f"{name}; if it was meant to change: {COMMAND} --record"
    text = PAGE.read_text()
    assert text == placed(text, "pairs", COMMAND, table(found)), COMMAND


def test_every_model_that_is_called_over_the_network_is_in_the_copied_facts_and_was_recorded() -> None:
    called = {model.id for model in load_catalog().models.values() if model.provider != "local"}
    assert called == set(declared_paths().values()) == {name.split()[0] for name in RECORDED}


@pytest.mark.parametrize(
    ("model", "change", "fault"),
    [
        ("qwen-edit", {"guidance_scale": 1}, "guidance_scale is not declared"),
        ("qwen-edit", {"image": None}, "image is missing"),
        ("qwen-edit", {"image": "https://example.com/cup.png"}, "image is 'https"),
        ("qwen-edit", {"size": "200*300"}, "size is '200*300'"),
        ("qwen-edit", {"size": "500x333"}, "size is '500x333'"),
        ("qwen-edit", {"seed": "7"}, "seed is '7'"),
        ("qwen-edit", {"seed": 7.5}, "seed is 7.5"),
        ("qwen-edit", {"output_format": "jpg"}, "output_format is 'jpg'"),
        ("qwen-edit-plus", {"images": ["png RGB 1×1 0123456789abcdef"] * 4}, "images is"),
        ("seedream-v4.5-edit", {"size": "400*4096"}, "size is"),
        ("wan-2.5-edit", {"size": "2500*400"}, "size is"),
        ("step1x-edit", {"guidance_scale": 21}, "guidance_scale is 21"),
        ("stability-relight", {"background_prompt": None}, "against the rule"),
        ("stability-relight", {"light_source_direction": None}, "against the rule"),
        ("stability-outpaint", {"left": "0", "up": "0", "down": "0"}, "against the rule"),
        ("stability-erase", {"grow_mask": "21"}, "grow_mask is 21"),
        ("qwen-image-edit", {"image_size": {"width": 512}}, "image_size is"),
    ],
)
def test_a_wrong_body_is_told(model: str, change: dict[str, Any], fault: str) -> None:
    (body,) = next(requests for name, requests in RECORDED.items() if name.split()[0] == model)
    right = {name: value for name, value in body.items() if name != "path"}
    found = faults_of(model, {name: value for name, value in {**right, **change}.items() if value is not None})
    assert faults_of(model, right) == []
    assert len(found) == 1
    assert found[0].startswith(fault)
