"""The worked examples of the OpenAPI document: one call of every route of a running system, as it was asked and answered.

`python -m tests.record_examples` writes `gateway/document_examples.json`; a test holds them against the document.
"""

import asyncio
import base64
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from shared.job import API_PREFIX
from tests.end_to_end.stack import Stack
from tests.pictures import encoded, photo

FILE = Path(__file__).parents[1] / "gateway" / "document_examples.json"
_PICTURE = encoded(photo("coffee.png", (600, 400)), "JPEG")
_HOOK = "https://example.com/edits"
_LIST_MAX, _TEXT_MAX = 2, 160
_WAIT_S = 60.0
_REFUSED = " [[sim: moderated]]"
_DATA_URI = f"data:image/jpeg;base64,{base64.b64encode(_PICTURE).decode()}"


class Recorder:
    """Calls routes, and keeps what the first call of each one said."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._http = http
        self.found: dict[str, dict[str, Any]] = {}

    async def call(self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None, **ids: str) -> Any:
        """One call of the route `path`, its `{id}` filled in. Raises AssertionError for an answer that is no success."""
        url = f"{self._stack.url}{path.format(**ids)}"
        sent = {} if body is None else {"data": body} if isinstance(body, (bytes, aiohttp.FormData)) else {"json": body}
        async with self._http.request(method, url, params=params, **sent) as answer:
            is_json = answer.content_type == "application/json"
            content = await (answer.json() if is_json else answer.read())
            assert answer.ok, (method, path, answer.status, content)
            kept = self.found.setdefault(f"{method} {path}", {"status": answer.status})
            if isinstance(body, dict):
                kept.setdefault("request", self._shown(body))
            if is_json:
                kept.setdefault("answer", self._shown(content))
            elif answer.content_type in ("application/x-ndjson", "application/jsonl", "text/event-stream"):
                kept.setdefault("answer", self._hidden(content.decode()[:2_000].rpartition("\n")[0] + "\n"))
            return content

    async def ended(self, path: str, job_id: str) -> Any:
        """Wait for the end of an edit or a batch."""
        until = asyncio.get_running_loop().time() + _WAIT_S
        while True:
            found = await self.call("GET", path, id=job_id)
            if found.get("finished_at") or found.get("status") == "held" or found.get("completed_at"):
                return found
            assert asyncio.get_running_loop().time() < until, found
            await asyncio.sleep(0.1)

    def _shown(self, value: Any) -> Any:
        """Short enough to be read: of lists the first entries, of long texts the beginning; addresses as they would be."""
        if isinstance(value, dict):
            return {name: self._shown(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [self._shown(entry) for entry in value[:_LIST_MAX]]
        if isinstance(value, str):
            text = self._hidden(value)
            return text[:_TEXT_MAX] if "base64" in text or len(text) > 4 * _TEXT_MAX else text
        return value

    def _hidden(self, text: str) -> str:
        text = text.replace(self._stack.url, "https://edits.example.com")
        text = text.replace(self._stack.s3.endpoint_url, "https://pictures.example.com").replace(_REFUSED, "")
        text = re.sub(r"\bes_[0-9A-Za-z_-]{20,}", "es_0123456789abcdefghijklmnopqrstuv", text)
        return re.sub(r"\bwhsec_[0-9A-Za-z+/=]+", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", text)


async def tour(stack: Stack) -> dict[str, dict[str, Any]]:
    """Every route once."""
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=_WAIT_S)) as http:
        recorder = Recorder(stack, http)
        for one in (_reference, _edits, _batches, _webhooks, _openai, _admin):
            await one(recorder, stack)
        return recorder.found


async def _reference(recorder: Recorder, stack: Stack) -> None:
    for path in ("models", "operations", "errors", "limits"):
        await recorder.call("GET", f"{API_PREFIX}/{path}")
    await recorder.call("GET", f"{API_PREFIX}/models/{{id}}", id="qwen-edit")
    for path in ("/healthz", "/readyz"):
        await recorder.call("GET", path)
    wish = {"operation": "general_edit", "image_resolution": {"width": 1024, "height": 1024}, "user_tier": "free"}
    await recorder.call("POST", f"{API_PREFIX}/recommend", {**wish, "preferences": {"prioritize_cost": True}})
    link = await asyncio.to_thread(stack.login_link)
    await recorder.call("POST", f"{API_PREFIX}/login", {"code": link.rpartition("=")[2]})


async def _edits(recorder: Recorder, stack: Stack) -> None:
    prefix, jobs = API_PREFIX, f"{API_PREFIX}/jobs/{{id}}"
    upload = await recorder.call("POST", f"{prefix}/uploads")
    await recorder.call("PUT", f"{prefix}/uploads/{{id}}/content", _PICTURE, id=upload["id"])
    wish = {"image_id": upload["image_id"], "prompt": "make the cup red", "preferences": {"prioritize_cost": True}}
    quote = await recorder.call("POST", f"{prefix}/quote", {**wish, "image_resolution": {"width": 600, "height": 400}})
    hooked = {**wish, "quote_id": quote["quote_id"], "webhook_url": _HOOK, "metadata": {"order": "4711"}}
    job = (await recorder.call("POST", f"{prefix}/process", hooked))["id"]
    await recorder.ended(jobs, job)
    recorder.found[f"GET {jobs}"]["answer"] = recorder._shown(await recorder.ended(jobs, job))
    await recorder.call("GET", f"{prefix}/jobs")
    await recorder.call("GET", f"{jobs}/receipt", id=job)
    await recorder.call("POST", f"{jobs}/feedback", {"rating": 4, "accepted": True}, id=job)
    await recorder.call("GET", f"{jobs}/deliveries", id=job)
    await recorder.call("GET", f"{jobs}/events", id=job)
    for picture in ("result", "thumbnail", "input"):
        await recorder.call("GET", f"{jobs}/{picture}", id=job)
    again = await recorder.call("POST", f"{jobs}/retry", {"prompt": "make the cup blue", "model": "flux-kontext-pro"}, id=job)
    await recorder.call("POST", f"{jobs}/cancel", id=again["id"])
    await recorder.ended(jobs, again["id"])
    await recorder.call("DELETE", jobs, id=again["id"])
    await recorder.call("GET", f"{prefix}/usage", params={"group_by": "day,model"})
    await recorder.call("GET", f"{prefix}/events", params={"after": "0-0", "limit": "2"})


async def _batches(recorder: Recorder, stack: Stack) -> None:
    batches, one = f"{API_PREFIX}/batches", f"{API_PREFIX}/batches/{{id}}"
    upload = await recorder.call("POST", f"{API_PREFIX}/uploads")
    await recorder.call("PUT", f"{API_PREFIX}/uploads/{{id}}/content", _PICTURE, id=upload["id"])
    items = [{"custom_id": f"shop-{n}", "image_id": upload["image_id"], "prompt": f"brightness +{n}%"} for n in (10, 20)]
    refused = {
        "custom_id": "shop-0",
        "image_id": upload["image_id"],
        "prompt": f"something indecent{_REFUSED}",
        "model": "qwen-edit",
    }
    batch = await recorder.call("POST", batches, {"name": "autumn", "canary": 1, "items": [*items, refused], "max_cost": 1.0})
    await recorder.ended(one, batch["id"])
    await recorder.call("POST", f"{one}/release", {"max_cost": 2.0}, id=batch["id"])
    await recorder.ended(one, batch["id"])
    recorder.found[f"GET {one}"]["answer"] = recorder._shown(await recorder.ended(one, batch["id"]))
    await recorder.call("GET", batches)
    for path in ("items", "results", "archive", "events"):
        await recorder.call("GET", f"{one}/{path}", id=batch["id"])
    again = await recorder.call("POST", f"{one}/retry-failed", id=batch["id"])
    await recorder.call("POST", f"{one}/cancel", id=again["id"])


async def _webhooks(recorder: Recorder, stack: Stack) -> None:
    prefix = f"{API_PREFIX}/webhooks"
    await recorder.call("POST", f"{prefix}/secret")
    await recorder.call("GET", f"{prefix}/secret")
    await recorder.call("POST", f"{prefix}/secret/rotate")
    await recorder.call("POST", f"{prefix}/test", {"url": _HOOK})
    found = await recorder.call("GET", f"{prefix}/deliveries")
    await recorder.call("POST", f"{API_PREFIX}/deliveries/{{id}}/replay", id=found["deliveries"][0]["id"])
    made = await recorder.call("POST", f"{prefix}/endpoints", {"url": _HOOK, "events": ["edit.failed"], "description": "alerts"})
    await recorder.call("GET", f"{prefix}/endpoints")
    await recorder.call("GET", f"{prefix}/endpoints/{{id}}", id=made["id"])
    await recorder.call("PATCH", f"{prefix}/endpoints/{{id}}", {"enabled": False}, id=made["id"])
    await recorder.call("POST", f"{prefix}/replay", {"since": "2026-01-01T00:00:00Z"})
    await recorder.call("DELETE", f"{prefix}/endpoints/{{id}}", id=made["id"])


async def _openai(recorder: Recorder, stack: Stack) -> None:
    prefix = "/openai/v1"
    body = {"prompt": "make it black and white", "images": [{"image_url": _DATA_URI}], "response_format": "b64_json"}
    await recorder.call("POST", f"{prefix}/images/edits", body)
    await recorder.call("GET", f"{prefix}/models")
    await recorder.call("GET", f"{prefix}/models/{{id}}", id="qwen-edit")
    line = {"custom_id": "a", "method": "POST", "url": "/v1/images/edits", "body": body}
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", json.dumps(line).encode(), filename="edits.jsonl", content_type="application/jsonl")
    file = await recorder.call("POST", f"{prefix}/files", form)
    batch = {"input_file_id": file["id"], "endpoint": "/v1/images/edits", "completion_window": "24h"}
    made = await recorder.call("POST", f"{prefix}/batches", batch)
    await recorder.ended(f"{prefix}/batches/{{id}}", made["id"])
    recorder.found[f"GET {prefix}/batches/{{id}}"]["answer"] = recorder._shown(
        await recorder.ended(f"{prefix}/batches/{{id}}", made["id"])
    )
    other = await recorder.call("POST", f"{prefix}/batches", batch)
    await recorder.call("POST", f"{prefix}/batches/{{id}}/cancel", id=other["id"])
    await recorder.call("GET", f"{prefix}/batches")
    await recorder.call("GET", f"{prefix}/files")
    for path in ("", "/content"):
        await recorder.call("GET", f"{prefix}/files/{{id}}{path}", id=file["id"])
    await recorder.call("DELETE", f"{prefix}/files/{{id}}", id=file["id"])


async def _admin(recorder: Recorder, stack: Stack) -> None:
    prefix = f"{API_PREFIX}/admin"
    await recorder.call(
        "PUT", f"{prefix}/tenants/{{id}}", {"daily_limit": 25.0, "monthly_limit": 400.0, "weight": 2.0}, id="acme"
    )
    await recorder.call("PATCH", f"{prefix}/tenants/{{id}}", {"daily_limit": 50.0}, id="acme")
    made = await recorder.call("POST", f"{prefix}/keys", {"tenant": "acme", "name": "shop", "scopes": ["read", "submit"]})
    await recorder.call("GET", f"{prefix}/keys")
    await recorder.call("GET", f"{prefix}/tenants")
    await recorder.call("GET", f"{prefix}/tenants/{{id}}", id="acme")
    await recorder.call("DELETE", f"{prefix}/keys/{{id}}", id=made["id"])


def main() -> int:
    """The program."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), latency_s=0.2) as stack:
        stack.start_worker().ready()
        found = asyncio.run(tour(stack))
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(found)} examples, {FILE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
