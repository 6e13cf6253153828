"""`edit-studio batch` that is cut off: the same command goes on, and does nothing twice."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.exit_codes import Exit
from gateway.client.answers import Job
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from gateway.client.batch_journal import NAME
from tests.deploy.batch_command import GREY, WAIT_S, Command, batches, until
from tests.gateway.conftest import Api
from tests.gateway.played_worker import work, working


async def test_a_run_that_was_cut_off_while_uploading_goes_on_with_what_is_uploaded(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, uploaded = AsyncClient.upload, list[str]()

    async def stuck(self: AsyncClient, picture: Path) -> Any:
        if len(uploaded) == 2:
            await asyncio.Event().wait()
        uploaded.append(picture.name)
        return await upload(self, picture)

    monkeypatch.setattr(AsyncClient, "upload", stuck)
    (photos / "broken.png").unlink()
    running = asyncio.create_task(command.run(str(photos), GREY, "--concurrency", "1"))
    await until(lambda: command.out.exists() and len(command.facts("image")) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "nothing was submitted" in command.said
    monkeypatch.setattr(AsyncClient, "upload", upload)
    async with working(api):
        assert await command.run(str(photos), GREY) == Exit.DONE
    assert len(command.facts("image")) == 4, "none of them twice"
    assert len(command.results()) == 5


async def test_a_batch_whose_answer_was_lost_is_found_again(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submit_batch = AsyncClient.submit_batch

    async def lost(self: AsyncClient, *items: Any, **fields: Any) -> Any:
        await submit_batch(self, *items, **fields)
        raise ApiError(0, "unreachable", "the service does not answer")

    monkeypatch.setattr(AsyncClient, "submit_batch", lost)
    assert await command.run(str(photos), GREY) == Exit.UNREACHABLE
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(AsyncClient, "submit_batch", submit_batch)
    async with working(api):
        assert await command.run(str(photos), GREY) == Exit.FAILED
    assert len(await batches(api)) == 1
    assert len(command.results()) == 5


async def test_a_run_that_was_cut_off_in_the_middle_saves_the_rest_and_nothing_twice(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_result, saved = AsyncClient.save_result, list[str]()

    async def counted(self: AsyncClient, job: Job, file: Path) -> None:
        saved.append(job["custom_id"] or "")
        await save_result(self, job, file)

    monkeypatch.setattr(AsyncClient, "save_result", counted)
    (photos / "broken.png").unlink()
    running = asyncio.create_task(command.run(str(photos), GREY))
    await until(lambda: command.out.exists() and command.facts("submitted"))
    assert await work(api, 2) == 2
    await until(lambda: len(command.facts("outcome")) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (batch,) = await batches(api)
    assert f"{batch['id']} goes on" in command.said
    assert f"edit-studio batch {photos} --cancel --out {command.out}" in command.said
    assert [row["status"] for row in command.rows()].count("unfinished") == 3
    with (command.out / NAME).open("a") as journal:
        journal.write('{"fact": "outco')
    (command.out / "a.png").unlink()
    async with working(api):
        assert await command.run(str(photos), GREY) == Exit.DONE
    assert len(command.results()) == 5
    assert sorted(saved) == sorted([*{row["custom_id"] for row in command.rows()}, "a.png"]), "what was deleted is saved again"


async def test_an_interrupted_command_leaves_the_batch_running(api: Api, command: Command, photos: Path) -> None:
    (photos / "broken.png").unlink()
    words = [sys.executable, "-m", "deploy.cli", *command.words(str(photos), GREY, "--json")]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        await until(lambda: (command.out / NAME).exists() and command.facts("submitted"))
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), WAIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, stdout) == (Exit.INTERRUPTED, b"")
    assert b"--cancel" in stderr
    assert b"Traceback" not in stderr
    (batch,) = await batches(api)
    assert (batch["status"], batch["counts"]["queued"]) == ("running", 5)
    async with working(api):
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        stdout, stderr = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == Exit.DONE, stderr
    document = json.loads(stdout)
    assert (document["batch_id"], document["status"], document["counts"]) == (batch["id"], "completed", {"succeeded": 5})
