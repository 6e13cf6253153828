"""The whole service behind OpenAI's own client, and what it left: edits, paid calls."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from openai import OpenAI
from PIL import Image

from shared.job import API_PREFIX
from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from shared.store.tenants import Tenants
from tests.end_to_end.stack import SECRET, Stack
from tests.pictures import encoded, photo

SIZE = (96, 64)
PICTURE = encoded(photo(size=SIZE), "PNG")
GREY = "make it black and white"  #: done here, free of charge
PAID = "qwen-edit"  #: a model whose calls are billed by the simulator


def base_url(stack: Stack, *, port: int | None = None) -> str:
    """What the official client is told; the rest is its own."""
    root = stack.url if port is None else f"http://127.0.0.1:{port}"
    return f"{root}/openai/v1"


@contextmanager
def client_of(stack: Stack, *, key: str | None = None, **options: Any) -> Iterator[OpenAI]:
    """The official client."""
    with OpenAI(base_url=base_url(stack), api_key=key or stack.api_key, **options) as client:
        yield client


def picture_of(b64_json: str | None) -> Image.Image:
    """The decoded picture."""
    assert b64_json is not None
    image = Image.open(io.BytesIO(base64.b64decode(b64_json)))
    image.load()
    return image


def edits_of(stack: Stack, prompt: str) -> list[dict[str, Any]]:
    """All edits with this prompt, the newest first."""
    request = Request(f"{stack.url}{API_PREFIX}/jobs?limit=100", headers={"Authorization": f"Bearer {stack.api_key}"})
    with urlopen(request, timeout=10) as answer:
        jobs: list[dict[str, Any]] = json.load(answer)["jobs"]
    return [job for job in jobs if job["prompt"] == prompt]


def paid_calls(stack: Stack, prompt: str) -> int:
    """How many calls with this prompt the simulator has billed."""
    return sum(entry["prompt"].startswith(prompt) for entry in stack.ledger())


def make_key(stack: Stack, tenant: str, *, limits: dict[str, float | None] | None = None, **options: Any) -> str:
    """A new key of a tenant, with limits for it."""

    async def make() -> str:
        settings = Settings(secret=SECRET, port=0, redis_url=stack.redis.url)
        redis = open_redis(settings)
        try:
            tenants = Tenants(Scripts(redis, timeout_s=5), settings)
            given = {"tier": "pro", "scopes": frozenset({"read", "submit"}), "name": "test", **options}
            key, _ = await tenants.create_key(tenant, **given)
            await tenants.set_limits(tenant, limits or {})
            return key
        finally:
            await redis.aclose(close_connection_pool=True)

    return asyncio.run(make())
