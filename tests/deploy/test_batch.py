"""`edit-studio batch`: a folder or a CSV file becomes one batch, its results a folder."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deploy.exit_codes import Exit
from gateway.client.async_client import AsyncClient
from tests.deploy.batch_command import GREY, Command, batches, until
from tests.gateway.conftest import Api
from tests.gateway.played_worker import work, working
from tests.pictures import encoded, photo
from tests.servers import free_port


async def test_a_folder_becomes_results_and_a_manifest_and_a_second_run_changes_nothing(
    api: Api, command: Command, photos: Path
) -> None:
    async with working(api):
        assert await command.run(str(photos), GREY) == Exit.FAILED
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
    assert await command.run(str(photos), GREY) == Exit.FAILED
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
        assert await command.run(str(photos / "list.csv"), "--set", "output_format=webp") == Exit.FAILED
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


async def test_a_canary_is_held_until_it_is_released(api: Api, command: Command, photos: Path) -> None:
    async with working(api, failing="b.png"):
        assert await command.run(str(photos), GREY, "--canary", "2", "--json") == Exit.HELD
        assert "held (canary)" in command.said
        assert f"--release --out {command.out} --api {api.url}" in command.said
        assert [row["status"] for row in command.rows()].count("unfinished") == 3
        assert len(command.results()) == 1
        assert await command.run(str(photos), "--release") == Exit.FAILED
    assert {row["source"]: row["status"] for row in command.rows() if row["status"] != "succeeded"} == {
        "b.png": "failed",
        "broken.png": "failed",
    }
    assert len(command.results()) == 4


async def test_a_canceled_batch_keeps_what_has_ended(api: Api, command: Command, photos: Path) -> None:
    async with working(api):
        assert await command.run(str(photos), GREY, "--canary", "2") == Exit.HELD
        assert await command.run(str(photos), "--cancel") == Exit.FAILED
        assert await command.run(str(photos), "--cancel") == Exit.FAILED
    assert "2 succeeded, 1 failed, 3 canceled" in command.said
    assert len(command.results()) == 2


async def test_options_are_the_batchs_own_fields(api: Api, command: Command, photos: Path) -> None:
    asked = ("--max-cost", "0.5", "--stop-on-failure-rate", "0.25", "--dedupe", "--set", "priority=interactive", "--recursive")
    async with working(api):
        assert await command.run(str(photos), GREY, *asked, "--model", "local-adjust") == Exit.FAILED
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
    assert await command.run(str(photos), "rotate 90 degrees clockwise") == Exit.WRONG_USAGE
    (photos / "a.png").write_bytes((photos / "b.png").read_bytes())
    assert await command.run(str(photos), GREY) == Exit.WRONG_USAGE
    assert "choose another --out" in capsys.readouterr().err
    assert len(await batches(api)) == 1


async def test_what_arrives_damaged_is_not_kept(
    api: Api, command: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(AsyncClient.__init__, "__kwdefaults__", {"busy_s": 0.0, "away_s": 0.0})
    for path in photos.iterdir():
        if path.name != "a.png":
            path.unlink()
    running = asyncio.create_task(command.run(str(photos), GREY))
    await until(lambda: command.out.exists() and command.facts("submitted"))
    (batch,) = await batches(api)
    (item,) = (await api.get(f"/batches/{batch['id']}/items")).json["items"]
    await api.finish(item["id"], b"not what its digest says")
    assert await running == Exit.UNREACHABLE
    assert "damaged" in capsys.readouterr().err
    assert command.results() == set()


async def test_a_service_that_is_not_there_is_told(command: Command, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert await command.run(str(photos), GREY, "--api", away) == Exit.UNREACHABLE
    (command.folder / "key").write_text("es_wrong")
    assert await command.run(str(photos), GREY) == Exit.NO_ACCESS
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
    assert await command.run(str(command.folder / words[0]), *words[1:], "--api", "http://127.0.0.1:1") == Exit.WRONG_USAGE
    assert said in capsys.readouterr().err
    assert not command.out.exists()


async def test_a_folder_that_cannot_be_filled_is_told(
    api: Api, command: Command, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.out = photos / "notes.txt" / "out"
    assert await command.run(str(photos), GREY) == Exit.FAILED
    assert "Not a directory" in capsys.readouterr().err


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
    assert await command.run(*words) == Exit.FAILED
    assert [row["custom_id"] for row in command.rows() if row["status"] == "gone"] == ["n120"]
    assert len(command.results()) == count - 1
    assert asked == [100], "no page without news"
    assert await command.run(*words) == Exit.FAILED
    assert asked == [100]
