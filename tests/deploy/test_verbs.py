"""`edit-studio edit|models|recommend|jobs|watch|usage` against a gateway: what they print, what they save, how they end."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.calling import call_async
from deploy.cli import _parser
from deploy.exit_codes import Exit
from gateway.client.api_error import ApiError, PictureUnusable
from gateway.client.batch_source import SourceUnusable
from shared.catalog.load import load_catalog
from tests.gateway.conftest import Api
from tests.gateway.played_worker import work, working
from tests.pictures import encoded, photo
from tests.servers import free_port

GREY = "make it black and white"
PNG = encoded(photo(size=(60, 40)), "PNG")
_WAIT_S = 20.0
_PROCESS_S = 60.0
_LOOK_S = 0.02


class Shell:
    """The commands as users give them, in this process. `access`: which service they talk to, with which key."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self.folder = api, folder
        self.picture = folder / "a.png"
        self.picture.write_bytes(PNG)
        (folder / "key").write_text(f"{api.key}\n")
        self.access = ("--api", api.url, "--key-file", str(folder / "key"))

    async def run(self, *words: str) -> tuple[Exit, str]:
        out = io.StringIO()
        async with asyncio.timeout(_WAIT_S):
            code = await call_async(_parser().parse_args([*words, *self.access]), Console(file=out, width=200))
        return code, out.getvalue()

    async def documents(self, *words: str) -> list[Any]:
        code, text = await self.run(*words, "--json")
        assert code is Exit.DONE
        return [json.loads(line) for line in text.splitlines()]

    async def process(self, *words: str, given: bytes = b"", **variables: str) -> tuple[int, bytes, str]:
        """Exit code, stdout and stderr of the real command."""
        command = (sys.executable, "-P", "-m", "deploy.cli", *words)
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env={**inherited, **variables}, cwd=self.folder
        )
        out, errors = await asyncio.wait_for(process.communicate(given), _PROCESS_S)
        assert process.returncode is not None
        return process.returncode, out, errors.decode()


@pytest.fixture
def shell(api: Api, tmp_path: Path) -> Shell:
    return Shell(api, tmp_path)


async def test_an_edit_is_saved_beside_its_picture_and_never_over_another_file(shell: Shell) -> None:
    async with working(shell.api, result=PNG):
        for name in ("a-edited.png", "a-edited-2.png"):
            code, text = await shell.run("edit", str(shell.picture), GREY)
            assert code is Exit.DONE
            assert text == f"{shell.folder / name}  60×40 png  local-adjust  0.001 USD\n"
        (job,) = await shell.documents(
            "edit", str(shell.picture), GREY, "--out", str(shell.folder), "--set", 'metadata={"a":"b"}'
        )
    assert Path(job["file"]) == shell.folder / f"{job['id']}.png"
    assert (job["status"], job["metadata"]) == ("succeeded", {"a": "b"})
    assert {path.read_bytes() for path in shell.folder.glob("*.png")} == {PNG}


async def test_an_edit_need_not_be_waited_for_and_is_found_again(shell: Shell) -> None:
    code, text = await shell.run("edit", str(shell.picture), GREY, "--no-wait", "--idempotency-key", "mine")
    (again,) = await shell.documents("edit", str(shell.picture), GREY, "--no-wait", "--idempotency-key", "mine")
    assert (code, text.strip()) == (Exit.DONE, again["id"])
    with pytest.raises(TimeoutError, match="it goes on"):
        await shell.run("edit", str(shell.picture), GREY, "--timeout", "0.05")
    found = await shell.documents("jobs", "--status", "queued")
    assert [job["id"] for job in found][1] == again["id"]
    assert len(await shell.documents("jobs", "--limit", "1")) == 1
    code, text = await shell.run("jobs", again["id"])
    assert (code, "queued, waiting for worker" in text, GREY in text) == (Exit.DONE, True, True)
    assert "canceled" in (await shell.run("jobs", again["id"], "--cancel"))[1]
    with pytest.raises(ApiError, match="was canceled"):
        await shell.run("watch", again["id"])


async def test_a_result_is_fetched_and_rated_later(shell: Shell) -> None:
    (job,) = await shell.documents("edit", str(shell.picture), GREY, "--no-wait")
    with pytest.raises(ApiError, match="is queued and has no result"):
        await shell.run("jobs", job["id"], "--save", str(shell.folder))
    await work(shell.api, result=PNG)
    saved = shell.folder / "saved.png"
    assert await shell.run("jobs", job["id"], "--save", str(saved)) == (Exit.DONE, f"{saved}\n")
    assert saved.read_bytes() == PNG
    assert (await shell.run("jobs", job["id"], "--rate", "4"))[0] is Exit.DONE
    assert (await shell.api.get(f"/jobs/{job['id']}/receipt")).json["feedback"]["rating"] == 4
    code, text = await shell.run("jobs")
    assert (code, job["id"] in text, "succeeded" in text) == (Exit.DONE, True, True)
    (row,) = (await shell.documents("usage", "--by", "model"))[0]["rows"]
    assert (row["succeeded"], row["usd"]) == (1, 0.001)
    assert "total" in (await shell.run("usage", "--by", "day,model"))[1]


async def test_models_are_listed_shown_and_recommended(shell: Shell) -> None:
    await shell.api.leases.renew("w1", slots=8, providers=tuple(load_catalog().providers), held=())
    code, text = await shell.run("models", "--operation", "erase", "--available")
    assert (code, "image-eraser" in text, "qwen-edit" in text) == (Exit.DONE, True, False)
    assert "Chinese" in (await shell.run("models", "qwen-edit"))[1]
    assert (await shell.documents("models", "--max-cost", "0"))[0]["total"] == 5
    (answer,) = await shell.documents("recommend", "make the cup blue", "--size", "1024x1024", "--quality")
    code, text = await shell.run("recommend", "make the cup blue", "--image", str(shell.picture), "--quality")
    assert answer["recommended_model"] in text
    assert answer["reason"].split(",")[0] in text


async def test_a_batch_and_everything_else_are_watched(shell: Shell) -> None:
    picture = (await shell.api.post("/uploads")).json["id"]
    await shell.api.call("PUT", f"/uploads/{picture}/content", data=PNG, headers={"Content-Type": "application/octet-stream"})
    seen = io.StringIO()
    options = _parser().parse_args(["watch", "--json", *shell.access])
    everything = asyncio.create_task(call_async(options, Console(file=seen)))
    body = {"items": [{"image_id": picture, "prompt": GREY}] * 2, "canary": 1}
    batch = (await shell.api.post("/batches", json=body)).json["id"]
    async with working(shell.api):
        assert (await shell.run("watch", batch))[0] is Exit.HELD
        await shell.api.post(f"/batches/{batch}/release")
        code, text = await shell.run("watch", batch)
    assert (code, text.splitlines()[-1]) == (Exit.DONE, "completed: 2 succeeded, 0 failed, 0 canceled")
    assert (await shell.documents("watch", batch))[-1]["status"] == "completed"
    async with asyncio.timeout(_WAIT_S):
        while "batch.completed" not in seen.getvalue():
            await asyncio.sleep(_LOOK_S)
    everything.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await everything
    events = [json.loads(line) for line in seen.getvalue().splitlines()]
    assert [event["batch_id"] for event in events if event["type"] == "batch.completed"] == [batch]


async def test_what_is_wrong_with_the_wish_is_said_before_anything_is_sent(shell: Shell) -> None:
    for words, said in (
        (("--set", "sede=1"), "did you mean seed"),
        (("--set", "steps=none"), "steps: Input should be a valid integer"),
        (("--operation", "paint"), "operation: "),
    ):
        with pytest.raises(SourceUnusable, match=said):
            await shell.run("edit", str(shell.picture), GREY, *words)
    with pytest.raises(PictureUnusable, match="image: there is no file"):
        await shell.run("edit", "missing.png", GREY)
    with pytest.raises(PictureUnusable, match=r"--image: .* cannot be read"):
        await shell.run("recommend", "--image", str(shell.folder / "key"))
    assert (await shell.api.stored())[1] == 0


async def test_a_pipe_takes_the_picture_and_the_environment_says_where_the_service_is(shell: Shell) -> None:
    where = {"EDIT_STUDIO_API_URL": shell.api.url, "EDIT_STUDIO_API_KEY": shell.api.key}
    async with working(shell.api, result=b"the edited picture"):
        ended = await shell.process("edit", "-", GREY, "--out", "-", given=PNG, **where)
    assert ended == (Exit.DONE, b"the edited picture", "")


async def test_an_error_is_one_line_and_an_exit_code_and_debug_tells_more(shell: Shell) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    (shell.folder / "wrong").write_text("es_wrong")
    cases: list[tuple[tuple[str, ...], Exit, str]] = [
        (("models", "nothing", *shell.access), Exit.NOT_FOUND, "there is no model 'nothing'"),
        (("edit", "a.png", GREY, "--model", "qwen-edid", *shell.access), Exit.REFUSED, "did you mean qwen-edit"),
        (("edit", "gone.png", GREY, *shell.access), Exit.WRONG_USAGE, "there is no file 'gone.png'"),
        (("jobs", "--data-dir", "/nonexistent"), Exit.NO_ACCESS, "EDIT_STUDIO_API_KEY"),
        (("usage", *shell.access[:2], "--key-file", "wrong"), Exit.NO_ACCESS, "(unauthorized)"),
        (("usage", "--api", "example.com", *shell.access[2:]), Exit.WRONG_USAGE, "'example.com' is no address"),
        (("usage", "--api", away, *shell.access[2:]), Exit.UNREACHABLE, "does not answer"),
    ]
    ends = await asyncio.gather(*(shell.process(*words) for words, _, _ in cases))
    for (words, code, said), (ended, out, errors) in zip(cases, ends, strict=True):
        assert (ended, out) == (code, b""), words
        assert errors.startswith("edit-studio: "), words
        assert (said in errors, errors.count("\n")) == (True, 1), errors
    ended, _, errors = await shell.process("models", "nothing", "--debug", *shell.access)
    assert (ended, "Traceback" in errors, errors.splitlines()[-1].startswith("edit-studio: ")) == (Exit.NOT_FOUND, True, True)


async def test_ctrl_c_leaves_the_edit_running_and_says_how_to_go_on(shell: Shell) -> None:
    command = (sys.executable, "-P", "-m", "deploy.cli", "edit", "a.png", GREY, *shell.access)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=shell.folder)
    async with asyncio.timeout(_PROCESS_S):
        # It follows the edit once the gateway watches it for somebody.
        while not shell.api.connections.changes._watches:
            await asyncio.sleep(_LOOK_S)
        process.send_signal(signal.SIGINT)
        out, errors = await process.communicate()
    (job,) = await shell.documents("jobs")
    assert (process.returncode, out, job["status"]) == (Exit.INTERRUPTED, b"", "queued")
    assert errors.decode().splitlines()[-1].startswith(f"{job['id']} goes on: ")


@pytest.mark.parametrize("kind", ["bash", "zsh"])
async def test_shells_are_told_how_to_complete(shell: Shell, kind: str) -> None:
    code, out, _ = await shell.process("completion", kind)
    assert code == Exit.DONE
    for word in (b"edit-studio", b"recommend", b"--max-cost"):
        assert word in out
    if kind == "bash":
        syntax = await asyncio.create_subprocess_exec("bash", "-n", stdin=asyncio.subprocess.PIPE)
        await syntax.communicate(out)
        assert syntax.returncode == 0
