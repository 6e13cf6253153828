"""A tenant with one of everything, for another tenant to reach for."""

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

import aiohttp

from shared.job import Course, JobFailure, JobRecord, JobState, StoredOutput
from shared.store.tenants import ApiKey
from tests.gateway.conftest import SCOPES, Api
from tests.pictures import samples

PNG = samples()["png"]
B64 = base64.b64encode(PNG).decode()
#: In what the first tenant writes: metadata, names, comments, addresses.
MARK = "only-for-the-first-tenant"
WISH = {"image_base64": B64, "prompt": "make it black and white", "metadata": {"mark": MARK}}
OWNER, OTHER = "t1", "t2"
HOOK = f"https://{MARK}.example/hook"


@dataclass(frozen=True)
class World:
    """What the first tenant has, by kind; the headers of the second tenant; and the first one's key."""

    edits: dict[str, str]
    batches: dict[str, str]
    items: dict[str, str]
    uploads: dict[str, str]
    files: dict[str, str]
    quote: str
    delivery: str
    endpoint: str
    key: ApiKey
    idempotency_key: str
    etags: dict[str, str]
    cursors: dict[str, str]
    other: dict[str, str]

    @property
    def secrets(self) -> set[str]:
        """What no answer to the second tenant may hold, whatever it asks for."""
        ids = {*self.edits.values(), *self.batches.values(), *self.items.values(), *self.uploads.values(), *self.files.values()}
        return {MARK, self.quote, self.delivery, self.endpoint, self.key.id, *ids}


async def make_world(api: Api) -> World:
    """Everything comes about as it would: by requests, and by a worker's part."""
    _, key = await api.connections.tenants.create_key(OWNER, tier="pro", scopes=SCOPES, name=MARK)
    endpoint = await _made(api, "/webhooks/endpoints", {"url": HOOK, "description": MARK})
    uploads = {"empty": (await _made(api, "/uploads", None))["id"], "filled": (await _made(api, "/uploads", None))["id"]}
    content = f"/uploads/{uploads['filled']}/content"
    assert (await api.call("PUT", content, data=PNG, headers={"Content-Type": "application/octet-stream"})).status == 200
    await api.leases.renew("w1", slots=8, providers=("local",), held=())
    quote = await _made(api, "/quote", {**WISH, "model": "local-adjust"})
    edits = {}
    for name, state in (("succeeded", "succeeded"), ("failed", "failed"), ("deleted", "succeeded"), ("expired", "succeeded")):
        edits[name] = (await _made(api, "/process", {**WISH, "webhook_url": HOOK}))["id"]
        await end(api, await take(api), JobState(state))
    assert (await api.call("DELETE", f"/jobs/{edits['deleted']}")).status == 204
    await api.connections.jobs._scripts.command("DEL", f"job:{edits['expired']}")
    rated = await api.post(f"/jobs/{edits['succeeded']}/feedback", json={"rating": 4, "comment": MARK})
    assert rated.status == 200
    batches, items = await _batches(api)
    files, batches["of a file"] = await _files(api)
    idempotency_key = "the-same-for-both"
    queued = await api.post("/process", json=WISH, headers={"Idempotency-Key": idempotency_key})
    edits["running"] = queued.json["id"]
    (running,) = await take(api)
    assert running.id == edits["running"]
    edits["queued"] = (await _made(api, "/process", {**WISH, "webhook_url": HOOK}))["id"]
    edits["canceled"] = (await _made(api, "/process", WISH))["id"]
    assert (await api.post(f"/jobs/{edits['canceled']}/cancel")).status == 200
    deliveries = (await api.get("/webhooks/deliveries?limit=1")).json
    feed = (await api.get("/events?limit=3")).json
    listed = (await api.get("/jobs?limit=1")).json
    listed_batches = (await api.get("/batches?limit=1")).json
    etags = {
        name: (await api.get(f"/jobs/{edits['succeeded']}{name}")).headers["ETag"]
        for name in ("", "/result", "/thumbnail", "/input")
    }
    return World(
        edits=edits,
        batches=batches,
        items=items,
        uploads=uploads,
        files=files,
        quote=quote["quote_id"],
        delivery=deliveries["deliveries"][0]["id"],
        endpoint=endpoint["id"],
        key=key,
        idempotency_key=idempotency_key,
        etags=etags,
        cursors={
            "/jobs": listed["next_cursor"],
            "/batches": listed_batches["next_cursor"],
            "/webhooks/deliveries": deliveries["next_cursor"],
            "/events": feed["next_cursor"],
        },
        other=await api.key_of(OTHER),
    )


async def _batches(api: Api) -> tuple[dict[str, str], dict[str, str]]:
    """One that ended with a failure, one that is held, one that runs; and items of the first one."""
    batches, items = {}, {}
    for name, fields in (("ended", {}), ("held", {"canary": 1}), ("running", {})):
        body = {"name": MARK, "items": [{**WISH, "custom_id": f"{MARK}-{n}"} for n in range(2)], **fields}
        batches[name] = (await _made(api, "/batches", body))["id"]
        if name == "ended":
            one, two = await take(api, 2)
            await end(api, [one], JobState.SUCCEEDED)
            await end(api, [two], JobState.FAILED)
            items = {"succeeded": one.id, "failed": two.id}
        elif name == "held":
            await end(api, await take(api), JobState.SUCCEEDED)
    assert (await api.get(f"/batches/{batches['ended']}")).json["status"] == "completed_with_errors"
    assert (await api.get(f"/batches/{batches['held']}")).json["status"] == "held"
    assert len(await take(api, 2)) == 2
    return batches, items


async def _files(api: Api) -> tuple[dict[str, str], str]:
    """By the way of OpenAI's clients: a picture, the input of a batch, and the outputs of that batch; and the batch."""
    picture = await _file(api, PNG, "vision")
    bodies = [{"prompt": WISH["prompt"], "image": {"file_id": picture}, "user": MARK}, {"prompt": MARK}]
    lines = [
        {"custom_id": f"{MARK}-{n}", "method": "POST", "url": "/v1/images/edits", "body": body} for n, body in enumerate(bodies)
    ]
    file = await _file(api, "\n".join(map(json.dumps, lines)).encode(), "batch")
    asked = {"input_file_id": file, "endpoint": "/v1/images/edits", "completion_window": "24h", "metadata": {"mark": MARK}}
    batch = await _made(api, "//openai/v1/batches", asked)
    await end(api, await take(api), JobState.SUCCEEDED)
    ended = (await api.get(f"//openai/v1/batches/{batch['id']}")).json
    assert ended["status"] == "completed"
    return {
        "picture": picture,
        "lines": file,
        "output": ended["output_file_id"],
        "errors": ended["error_file_id"],
    }, batch["id"]


async def _file(api: Api, data: bytes, purpose: str) -> str:
    form = aiohttp.FormData()
    form.add_field("purpose", purpose)
    form.add_field("file", data, filename=MARK)
    made = await api.post("//openai/v1/files", data=form)
    assert made.status == 200, made.json
    identifier: str = made.json["id"]
    return identifier


async def _made(api: Api, path: str, body: Any) -> dict[str, Any]:
    answer = await api.post(path, **({} if body is None else {"json": body}))
    assert answer.status in (200, 201, 202), answer.json
    made: dict[str, Any] = answer.json
    return made


async def take(api: Api, want: int = 1) -> list[JobRecord]:
    taken = await api.leases.take("w1", nonce=secrets.token_hex(8), want=want, providers=("local",))
    assert len(taken) == want
    return list(taken)


async def end(api: Api, records: list[JobRecord], state: JobState) -> None:
    for record in records:
        failure = JobFailure(code="bad_output", message=MARK, retryable=False, by="provider", stage="editing", billed=False)
        course = Course(error=failure)
        if state is JobState.SUCCEEDED:
            key = f"out/{OWNER}/{record.id}/{record.gen}/0.png"
            thumbnail = key.replace("0.png", "thumb-320.webp")
            await api.connections.storage.put(key, PNG, content_type="image/png")
            await api.connections.storage.put(thumbnail, PNG, content_type="image/webp")
            output = StoredOutput(
                key=key, width=120, height=80, format="png", bytes=len(PNG), sha256="ab" * 32, thumbnails={"320": thumbnail}
            )
            course = Course(model="local-adjust", output=output)
        assert await api.leases.finish(record, state, course)
