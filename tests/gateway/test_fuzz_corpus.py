"""A corpus of spoilt pictures and bodies through the routes: each is answered as it should be; what is refused leaves nothing."""

import base64
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.bomb_pictures import bombs, long_animations
from tests.gateway.batch_corpus import batch_bodies
from tests.gateway.body_corpus import Body, form_bodies, json_bodies
from tests.gateway.conftest import Answer, Api
from tests.gateway.corpus_run import Case, Send, corpus_run, memory_below, unhurried
from tests.gateway.isolation_world import PNG
from tests.picture_corpus import spoilt_pictures

SEED = 20_240_601
pytestmark = pytest.mark.usefixtures("no_access_log")
PROMPT = "make it black and white"
TOO_BAD = {"picture_too_large", "not_a_picture", "truncated_picture"}


@pytest.fixture(scope="module")
def spoilt() -> list[tuple[str, bytes]]:
    """Made before a gateway runs, whose loop the making would block."""
    return [*spoilt_pictures(SEED, each=6), *bombs().items(), *long_animations().items()]


@pytest.fixture(scope="module", params=[json_bodies, form_bodies, batch_bodies], ids=lambda make: make.__name__)
def bodies(request: pytest.FixtureRequest) -> list[Body]:
    """Made before a gateway runs, too."""
    make: Callable[..., Iterable[Body]] = request.param
    return list(make(SEED, each=8))


@unhurried
async def test_spoilt_pictures_are_refused_or_taken_and_nothing_breaks(
    spoilt: list[tuple[str, bytes]], api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with corpus_run(api, monkeypatch, tmp_path) as run, memory_below(80):
        await run.send(list(_on_their_ways(api, spoilt)))
    assert run.statuses.total() > 800
    assert {*TOO_BAD, "animated_image"} <= set(run.codes)


@unhurried
async def test_a_bomb_is_refused_on_every_way_before_it_is_decoded(
    spoilt: list[tuple[str, bytes]], api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with corpus_run(api, monkeypatch, tmp_path) as run:
        for name, data in bombs().items():
            async with memory_below(30):
                # A batch is accepted; its item fails.
                await run.send([Case(f"{name}, {way}", send, way == "batch") for way, send in _ways(api, data).items()])
    assert set(run.codes) <= TOO_BAD
    assert all(batch["counts"]["failed"] == 1 for batch in run.accepted.values())


@unhurried
async def test_no_frame_of_a_long_animation_is_decoded_before_it_is_taken(
    spoilt: list[tuple[str, bytes]], api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with corpus_run(api, monkeypatch, tmp_path) as run, memory_below(30):
        for data in long_animations().values():
            ways = _ways(api, data)
            await run.send([Case(way, ways[way], is_taken=False) for way in ("form", "reference", "quote")])
            await run.send([Case(way, ways[way]) for way in ("JSON, first frame", "upload")])
    assert run.codes["animated_image"] == 3 * len(long_animations())


@unhurried
async def test_bad_bodies_are_refused_or_taken_and_nothing_breaks(
    bodies: list[Body], api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with corpus_run(api, monkeypatch, tmp_path) as run, memory_below(200):
        await run.send([Case(body.name, _posted(api, body), body.is_taken) for body in bodies])
    assert {400, 422} <= set(run.statuses)


def _posted(api: Api, body: Body) -> Send:
    async def send() -> Answer:
        headers = {"Content-Type": body.kind, **body.headers}
        return await api.post(body.path, data=io.BytesIO(body.data), headers=headers)

    return send


def _on_their_ways(api: Api, pictures: Iterable[tuple[str, bytes]]) -> Iterator[Case]:
    """Each picture on one way, the most used one more often."""
    chance = random.Random(SEED)
    for name, data in pictures:
        ways = _ways(api, data)
        way = chance.choice(("form", *ways))
        yield Case(f"{name}, {way}", ways[way])


def _ways(api: Api, data: bytes) -> dict[str, Send]:
    """All the ways on which a picture comes in."""
    text = base64.b64encode(data).decode()

    async def form() -> Answer:
        return await api.post("/process", data=_form({"image": data, "prompt": PROMPT}))

    async def in_json() -> Answer:
        return await _post_json(api, "/process", {"image_base64": text, "prompt": PROMPT, "animated": "first"})

    async def mask() -> Answer:
        return await api.post("/process", data=_form({"image": data, "mask": data, "prompt": PROMPT, "operation": "inpaint"}))

    async def reference() -> Answer:
        return await api.post("/process", data=_form({"image": PNG, "reference_images": data, "prompt": PROMPT}))

    async def quote() -> Answer:
        return await _post_json(api, "/quote", {"image_base64": text, "prompt": PROMPT})

    async def upload() -> Answer:
        made = await api.post("/uploads")
        headers = {"Content-Type": "application/octet-stream"}
        return await api.call("PUT", f"/uploads/{made.json['id']}/content", data=io.BytesIO(data), headers=headers)

    async def batch() -> Answer:
        manifest = json.dumps({"image_id": "file:a", "prompt": PROMPT}).encode()
        form = _form({"manifest": manifest})
        form.add_field("files", io.BytesIO(data), filename="a")
        return await api.post("/batches", data=form)

    return {
        "form": form,
        "JSON, first frame": in_json,
        "mask": mask,
        "reference": reference,
        "quote": quote,
        "upload": upload,
        "batch": batch,
    }


async def _post_json(api: Api, path: str, document: dict[str, Any]) -> Answer:
    headers = {"Content-Type": "application/json"}
    return await api.post(path, data=io.BytesIO(json.dumps(document).encode()), headers=headers)


def _form(parts: dict[str, Any]) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in parts.items():
        if isinstance(value, str):
            form.add_field(name, value)
        else:
            form.add_field(name, io.BytesIO(value), filename="x")
    return form
