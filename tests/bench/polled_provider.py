"""A provider for the bench: takes a submit, says `processing` for a while, then leads to one picture. WaveSpeed's wire form.

`python -m tests.bench.polled_provider <seconds>`. It does no work of its own, so that what is measured is ours.
"""

import os
import secrets
import sys
import time
from io import BytesIO

import uvloop
from aiohttp import web
from PIL import ImageOps

from deploy.simulator.envelope import enveloped, read_object
from shared.parent import watch_parent
from tests.bench.submit import serve
from tests.pictures import photo

SIDE = 1_024
MODEL, LANE = "qwen-edit", "wavespeed"


def picture_bytes(*, is_result: bool = False) -> bytes:
    """A photograph of a megapixel as a JPEG, before or after."""
    picture = photo("coffee.png", (SIDE, SIDE))
    file = BytesIO()
    (ImageOps.posterize(picture, 3) if is_result else picture).save(file, "JPEG", quality=90)
    return file.getvalue()


def access(url: str) -> dict[str, str]:
    """The variables that lead a worker here."""
    return {"WAVESPEED_API_KEY": "only-for-the-bench", "WAVESPEED_BASE_URL": url}


async def _serve(seconds: float) -> None:
    watch_parent(int(os.environ["EDIT_STUDIO_PARENT_PID"]))
    result = picture_bytes(is_result=True)
    tasks: dict[str, tuple[str, float]] = {}
    told: dict[str, float] = {}

    async def submit(request: web.Request) -> web.Response:
        task_id, body = secrets.token_hex(16), await read_object(request)
        tasks[task_id] = str(body["prompt"]), time.time()
        return enveloped({"id": task_id, "status": "created"})

    async def poll(request: web.Request) -> web.Response:
        task_id = request.match_info["id"]
        prompt, since = tasks[task_id]
        if time.time() - since < seconds:
            return enveloped({"id": task_id, "status": "processing"})
        told.setdefault(prompt, time.time())
        return enveloped({"id": task_id, "status": "completed", "outputs": [f"{request.url.origin()}/result.jpg"]})

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=result, content_type="image/jpeg")

    async def answer_told(_: web.Request) -> web.Response:
        return web.json_response(told)

    app = web.Application()
    app.add_routes(
        [
            web.get("/told", answer_told),
            web.get("/result.jpg", picture),
            web.get("/api/v3/predictions/{id}/result", poll),
            web.post("/api/v3/{path:.+}", submit),
        ]
    )
    await serve(app)


if __name__ == "__main__":
    uvloop.run(_serve(float(sys.argv[1])))
