"""The plain client: the calls of the asynchronous one, from any thread, and its end."""

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.client.async_client import AsyncClient
from gateway.client.client import Client
from gateway.client.errors import BY_CODE, NotFound
from gateway.client.refusal import refusal_of
from shared.errors import EditStudioError, error_classes
from tests.client_sources import sources
from tests.gateway.conftest import Api
from tests.gateway.played_worker import working
from tests.pictures import encoded, photo

GREY = "make it black and white"
PNG = encoded(photo(size=(60, 40)), "PNG")


async def test_an_edit_a_stream_and_a_batch_without_async(api: Api, tmp_path: Path) -> None:
    def use() -> None:
        with Client(api.url, api.key) as client:
            edited = client.edit(PNG, GREY)
            assert edited.save(tmp_path / "a.png").read_bytes() == PNG
            assert [job["status"] for job in client.stream(edited.job["id"])] == ["succeeded"]
            batch = client.submit_batch([{"image": PNG, "prompt": GREY}])
            assert client.wait_batch(batch["id"], timeout_s=20)["status"] == "completed"
            assert [job["status"] for job in client.results(batch["id"])] == ["succeeded"]
            for job in client.stream(client.submit(PNG, GREY)["id"]):
                client.cancel(job["id"]) if job["status"] == "queued" else None
                break
            with pytest.raises(NotFound):
                client.model("nothing")
        with pytest.raises(RuntimeError, match="after it was closed"):
            client.limits()
        client.close()

    async with working(api, result=PNG):
        await asyncio.to_thread(use)


async def test_a_call_from_its_own_thread_is_refused_instead_of_waiting_for_ever(api: Api) -> None:
    def use() -> None:
        with Client(api.url, api.key) as client, pytest.raises(RuntimeError, match="iterate over `stream` instead"):
            client.edit(PNG, GREY, on_change=lambda job: client.cancel(job["id"]) and None)

    async with working(api):
        await asyncio.to_thread(use)


async def test_a_client_that_is_forgotten_leaves_no_thread_and_no_noise(api: Api) -> None:
    def forget() -> None:
        Client(api.url, api.key).limits()
        gc.collect()

    before = threading.active_count()
    await asyncio.to_thread(forget)
    assert threading.active_count() <= before + 1
    program = (
        "import sys; from gateway.client.client import Client; c = Client(*sys.argv[1:]); print(c.limits()['frames_max'])\n"
        "stream = c.results('batch_0'); c.submit(b'x') if False else None"
    )
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, api.url, api.key], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


def test_no_call_of_the_asynchronous_client_is_missing() -> None:
    def calls(cls: type) -> dict[str, Any]:
        return {name: value for name, value in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}

    plain, asynchronous = calls(Client), calls(AsyncClient)
    assert set(plain) - {"close"} == set(asynchronous)
    for name, call in asynchronous.items():
        assert inspect.signature(plain[name]) == inspect.signature(call)
        assert plain[name].__doc__, name


def test_what_follows_from_the_service_is_up_to_date() -> None:
    for file, text in sources().items():
        assert file.read_text() == text, f"{file.name}: python -m tests.client_sources"


def test_every_code_has_its_class_below_the_same_classes() -> None:
    assert list(BY_CODE) == list(error_classes())
    for code, cls in error_classes().items():
        mine = BY_CODE[code]
        ours = [base.__name__ for base in cls.__mro__ if issubclass(base, EditStudioError) and base is not EditStudioError]
        assert [base.__name__ for base in mine.__mro__][: len(ours)] == ours
        error = refusal_of(cls.status, {"code": code, "detail": "no"}, retry_after_s=None)
        assert (type(error), error.code, error.retryable) == (mine, code, cls.retryable)


def test_a_code_that_is_newer_than_the_client_is_told_all_the_same() -> None:
    error = refusal_of(418, {"code": "is_a_teapot", "detail": "short and stout", "errors": []}, retry_after_s=2.0)
    assert (type(error).__name__, error.code, error.status, str(error)) == (
        "ApiError",
        "is_a_teapot",
        418,
        "short and stout (is_a_teapot)",
    )
