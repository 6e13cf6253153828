"""`edit-studio batch`: a folder or a CSV file becomes one batch, its results a folder, however often the run is cut off."""

import asyncio
import contextlib
import csv
import hashlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.batch import HELD, INTERRUPTED, SOME_FAILED, SUCCEEDED, UNREACHABLE, WRONG_USAGE, run
from deploy.cli import _parser
from gateway.client.async_client import ApiError, AsyncClient, Job
from gateway.client.batch_journal import NAME
from shared.job import Course, JobFailure, JobRecord, JobState, StoredOutput
from tests.gateway.conftest import Api
from tests.pictures import encoded, photo
from tests.servers import free_port

GREY = "make it black and white"
_WAIT_S = 20.0
_LOOK_S = 0.01


class Command:
    """The command as users give it, in this process. `out`: where its results go; `said`: by the last run."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.folder, self.out, self.said = folder, folder / "out", ""
        (folder / "key").write_text(api.key)
        self._access = ("--api", api.url, "--key-file", str(folder / "key"))

    def words(self, *words: str) -> list[str]:
        return ["batch", "--out", str(self.out), *self._access, *words]

    async def run(self, *words: str) -> int:
        options, console = _parser().parse_args(self.words(*words)), Console(file=io.StringIO())
        try:
            async with asyncio.timeout(_WAIT_S):
                return await run(options, console)
        finally:
            self.said = console.file.getvalue()  # type: ignore[attr-defined]

    def rows(self) -> list[dict[str, str]]:
        """Of the manifest; both forms say the same."""
        with (self.out / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        told = json.loads((self.out / "manifest.json").read_text())["items"]
        assert rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in told]
        return rows

    def results(self) -> set[str]:
        """Files that are no business of the run's own."""
        return {path.relative_to(self.out).as_posix() for path in self.out.rglob("*") if path.suffix in (".png", ".part")}

    def facts(self, kind: str) -> list[dict[str, Any]]:
        return [fact for line in (self.out / NAME).read_text().splitlines() if (fact := json.loads(line))["fact"] == kind]


@pytest.fixture
def command(api: Api, tmp_path: Path) -> Command:
    return Command(api, tmp_path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six pictures, two of them the same and one broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for shade, name in enumerate(("a.png", "b.png", "c.jpg", "grün.png")):
        (folder / name).write_bytes(encoded(photo(size=(60 + shade, 40)), "PNG"))
    (folder / "same.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture either")
    return folder


def result_of(record: JobRecord) -> bytes:
    return f"the result of {record.spec.custom_id}".encode()


async def work(api: Api, most: int = 100, *, failing: str = "") -> int:
    """Do a worker's part for some edits; how many that were."""
    records = await api.leases.take("w1", nonce=os.urandom(8).hex(), want=most, providers=("local",))
    for record in records:
        state, data = JobState.SUCCEEDED, result_of(record)
        if failing and record.spec.custom_id == failing:
            failure = JobFailure(code="bad_output", message="no", retryable=False, by="provider", stage="editing", billed=False)
            state, course = JobState.FAILED, Course(error=failure)
        else:
            key, digest = f"out/t1/{record.id}/{record.gen}/0.png", hashlib.sha256(data).hexdigest()
            await api.connections.storage.put(key, data, content_type="image/png")
            output = StoredOutput(key=key, width=60, height=40, format="png", bytes=len(data), sha256=digest)
            course = Course(model="local-adjust", output=output)
        assert await api.leases.finish(record, state, course, cost_micro_usd=1_000)
    await api.connections.batches.step()
    return len(records)


@contextlib.asynccontextmanager
async def working(api: Api, **options: Any) -> AsyncIterator[None]:
    """A worker for as long as it is needed."""

    async def loop() -> None:
        while True:
            await work(api, **options)
            await asyncio.sleep(_LOOK_S)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(fact: Any) -> None:
    async with asyncio.timeout(_WAIT_S):
        while not fact():
            await asyncio.sleep(_LOOK_S)


async def batches(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.get("/batches")).json["batches"]
    return found


async def test_a_folder_becomes_results_and_a_manifest_and_a_second_run_changes_nothing(
    api: Api, command: Command, photos: Path
) -> None:
    async with working(api):
        assert await command.run(str(photos), GREY) == SOME_FAILED
    assert command.results() == {"a.png", "b.png", "c.png", "grün.png", "same.png"}
    assert (command.out / "c.png").read_bytes() == b"the result of c.jpg"
    rows = {row["source"]: row for row in command.rows()}
    assert list(rows) == ["a.png", "b.png", "broken.png", "c.jpg", "grün.png", "same.png"]
    expected = {"custom_id": "c.jpg", "source": "c.jpg", "result": "c.png", "status": "succeeded", "error": "", "cost": "0.001"}
    assert rows["c.jpg"] == {**expected, "model": "local-adjust"}
    assert (rows["broken.png"]["status"], rows["broken.png"]["result"]) == ("failed", "")
    assert rows["broken.png"]["error"].startswith("not_a_picture: ")
    assert "failed: broken.png: not_a_picture" in command.said
    assert "5 succeeded, 1 failed; 0.005 USD" in command.said
    (batch,) = await batches(api)
    assert (batch["name"], batch["counts"]["total"], batch["priority"]) == ("photos", 5, "bulk")
    assert len({fact["image_id"] for fact in command.facts("image")}) == 4, "equal pictures are uploaded once"
    before = {path.name: path.stat().st_mtime_ns for path in command.out.glob("*.png")}
    assert await command.run(str(photos), GREY) == SOME_FAILED
    assert {path.name: path.stat().st_mtime_ns for path in command.out.glob("*.png")} == before
    assert len(await batches(api)) == 1
    assert (await api.stored())[1] == 5


async def test_rows_of_a_csv_file_say_what_is_to_be_done(api: Api, command: Command, photos: Path) -> None:
    mask = photos / "mask.png"
    mask.write_bytes(encoded(photo(size=(60, 40)).convert("L"), "PNG"))
    (photos / "list.csv").write_text(
        "image,custom_id,prompt,operation,mask,output_quality,metadata\n"
        'a.png,first,"[a big] hat",,,80,"{""shelf"": ""7""}"\n'
        f"https://example.com/b.png,second,{GREY},,,,\n"
        "a.png,,,erase,mask.png,,\n"
        f"gone.png,lost,{GREY},,,,\n",
        encoding="utf-8-sig",
    )
    async with working(api):
        assert await command.run(str(photos / "list.csv"), "--set", "output_format=webp") == SOME_FAILED
    rows = {row["custom_id"]: row for row in command.rows()}
    assert list(rows) == ["first", "second", "row-3", "lost"]
    assert rows["lost"]["error"] == "unreadable: No such file or directory"
    assert (rows["row-3"]["result"], rows["second"]["source"]) == ("row-3.png", "https://example.com/b.png")
    (batch,) = await batches(api)
    items = (await api.get(f"/batches/{batch['id']}/items")).json["items"]
    specs = [(await api.connections.jobs.get("t1", item["id"])).spec for item in items]
    assert [spec.prompt for spec in specs] == ["[a big] hat", GREY, None]
    assert [spec.output_quality for spec in specs] == [80, None, None]
    assert [spec.output_format for spec in specs] == ["webp"] * 3
    assert (specs[0].metadata, specs[1].image.url) == ({"shelf": "7"}, "https://example.com/b.png")
    assert (specs[2].operation, specs[2].mask is not None) == ("erase", True)


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
        assert await command.run(str(photos), GREY) == SUCCEEDED
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
    assert await command.run(str(photos), GREY) == UNREACHABLE
    assert "the same command goes on from here" in capsys.readouterr().err
    monkeypatch.setattr(AsyncClient, "submit_batch", submit_batch)
    async with working(api):
        assert await command.run(str(photos), GREY) == SOME_FAILED
    assert len(await batches(api)) == 1
    assert len(command.results()) == 5


async def test_a_run_that_was_cut_off_in_the_middle_saves_the_rest_and_nothing_twice(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_result, saved = AsyncClient.save_result, list[str]()

    async def counted(self: AsyncClient, job: Job, file: Path) -> None:
        saved.append(job["custom_id"])
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
        assert await command.run(str(photos), GREY) == SUCCEEDED
    assert len(command.results()) == 5
    assert sorted(saved) == sorted([*{row["custom_id"] for row in command.rows()}, "a.png"]), "what was deleted is saved again"


async def test_a_canary_is_held_until_it_is_released(api: Api, command: Command, photos: Path) -> None:
    async with working(api, failing="b.png"):
        assert await command.run(str(photos), GREY, "--canary", "2", "--json") == HELD
        assert "held (canary)" in command.said
        assert f"--release --out {command.out} --api {api.url}" in command.said
        assert [row["status"] for row in command.rows()].count("unfinished") == 3
        assert len(command.results()) == 1
        assert await command.run(str(photos), "--release") == SOME_FAILED
    assert {row["source"]: row["status"] for row in command.rows() if row["status"] != "succeeded"} == {
        "b.png": "failed",
        "broken.png": "failed",
    }
    assert len(command.results()) == 4


async def test_a_canceled_batch_keeps_what_has_ended(api: Api, command: Command, photos: Path) -> None:
    async with working(api):
        assert await command.run(str(photos), GREY, "--canary", "2") == HELD
        assert await command.run(str(photos), "--cancel") == SOME_FAILED
        assert await command.run(str(photos), "--cancel") == SOME_FAILED
    assert "2 succeeded, 1 failed, 3 canceled" in command.said
    assert len(command.results()) == 2


async def test_options_are_the_batchs_own_fields(api: Api, command: Command, photos: Path) -> None:
    asked = ("--max-cost", "0.5", "--stop-on-failure-rate", "0.25", "--dedupe", "--set", "priority=interactive", "--recursive")
    async with working(api):
        assert await command.run(str(photos), GREY, *asked, "--model", "local-adjust") == SOME_FAILED
    (batch,) = await batches(api)
    assert (batch["cost"]["max"], batch["stop_on_failure_rate"], batch["priority"]) == (0.5, 0.25, "interactive")
    items = (await api.get(f"/batches/{batch['id']}/items")).json["items"]
    assert {item["requested_model"] for item in items} == {"local-adjust"}
    assert (command.out / "same.png").read_bytes() == b"the result of a.png"


async def test_other_wishes_need_another_folder(
    api: Api, command: Command, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with working(api):
        await command.run(str(photos), GREY)
    assert await command.run(str(photos), "rotate 90 degrees clockwise") == WRONG_USAGE
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    assert await command.run(str(photos), GREY) == WRONG_USAGE
    assert "choose another --out" in capsys.readouterr().err
    assert len(await batches(api)) == 1


async def test_what_arrives_damaged_is_not_kept(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gateway.client.async_client._AWAY_S", 0.0)
    for path in photos.iterdir():
        if path.name != "a.png":
            path.unlink()
    running = asyncio.create_task(command.run(str(photos), GREY))
    await until(lambda: command.out.exists() and command.facts("submitted"))
    (batch,) = await batches(api)
    (item,) = (await api.get(f"/batches/{batch['id']}/items")).json["items"]
    await api.finish(item["id"], b"not what its digest says")
    assert await running == UNREACHABLE
    assert "damaged" in capsys.readouterr().err
    assert command.results() == set()


async def test_a_service_that_is_not_there_is_told(command: Command, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert await command.run(str(photos), GREY, "--api", away) == UNREACHABLE
    (command.folder / "key").write_text("es_wrong")
    assert await command.run(str(photos), GREY) == SOME_FAILED
    assert "(unauthorized)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing", GREY), "neither a folder nor a CSV file"),
        (("empty", GREY), "no pictures in"),
        (("photos",), "has no prompt"),
        (("photos", GREY, "--set", "sede=1"), "did you mean seed?"),
        (("photos", GREY, "--set", "seed=one"), "seed: Input should be a valid integer"),
        (("photos", GREY, "--set", "metadata={"), "is not JSON"),
        (("photos", "--release"), "there is no batch in"),
        (("bad.csv", GREY), "line 3: steps: Input should be a valid integer"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(
    command: Command, photos: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (command.folder / "empty").mkdir()
    (command.folder / "bad.csv").write_text("image,steps\nphotos/a.png,3\nphotos/a.png,many\n")
    assert await command.run(str(command.folder / words[0]), *words[1:], "--api", "http://127.0.0.1:1") == WRONG_USAGE
    assert said in capsys.readouterr().err
    assert not command.out.exists()


async def test_a_folder_that_cannot_be_filled_is_told(
    api: Api, command: Command, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.out = photos / "notes.txt" / "out"
    assert await command.run(str(photos), GREY) == SOME_FAILED
    assert "Not a directory" in capsys.readouterr().err


async def test_an_interrupted_command_leaves_the_batch_running(api: Api, command: Command, photos: Path) -> None:
    (photos / "broken.png").unlink()
    words = [sys.executable, "-m", "deploy.cli", *command.words(str(photos), GREY, "--json")]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    try:
        await until(lambda: (command.out / NAME).exists() and command.facts("submitted"))
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), _WAIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, stdout) == (INTERRUPTED, b"")
    assert b"--cancel" in stderr
    assert b"Traceback" not in stderr
    (batch,) = await batches(api)
    assert (batch["status"], batch["counts"]["queued"]) == ("running", 5)
    async with working(api):
        process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        stdout, stderr = await asyncio.wait_for(process.communicate(), _WAIT_S)
    assert process.returncode == SUCCEEDED, stderr
    document = json.loads(stdout)
    assert (document["batch_id"], document["status"], document["counts"]) == (batch["id"], "completed", {"succeeded": 5})


async def test_a_long_batch_is_saved_page_by_page_and_what_was_deleted_is_told(
    api: Api, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 130
    rows = [f"https://example.com/{n}.png,n{n}" for n in range(count)]
    (tmp_path / "list.csv").write_text("\n".join(["image,custom_id", *rows]))
    words = (str(tmp_path / "list.csv"), GREY)
    running = asyncio.create_task(command.run(*words))
    await until(lambda: command.out.exists() and command.facts("submitted"))
    assert await work(api, 110) == 110
    await until(lambda: len(command.facts("outcome")) == 110)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (batch,) = await batches(api)
    assert await work(api) == count - 110
    items = (await api.get(f"/batches/{batch['id']}/items?cursor=120")).json["items"]
    assert (await api.call("DELETE", f"/jobs/{items[0]['id']}")).status == 204
    batch_items, asked = AsyncClient.batch_items, list[int]()

    async def counted(self: AsyncClient, batch_id: str, *, cursor: int = 0, limit: int = 100) -> Any:
        asked.append(cursor)
        return await batch_items(self, batch_id, cursor=cursor, limit=limit)

    monkeypatch.setattr(AsyncClient, "batch_items", counted)
    assert await command.run(*words) == SOME_FAILED
    assert [row["custom_id"] for row in command.rows() if row["status"] == "gone"] == ["n120"]
    assert len(command.results()) == count - 1
    assert asked == [100], "no page without news"
    assert await command.run(*words) == SOME_FAILED
    assert asked == [100]
