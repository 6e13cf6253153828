"""The client's calls for single edits against the gateway itself: pictures of every kind in, results out, errors as classes."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.client.api_error import ApiError, PictureUnusable
from gateway.client.async_client import AsyncClient
from gateway.client.errors import (
    AlreadyFinished,
    IdempotencyMismatch,
    NotFinished,
    NotFound,
    ProviderBadOutput,
    Unauthorized,
    UnknownModel,
    ValidationFailed,
)
from shared.catalog.load import load_catalog
from shared.edit import Role
from tests.gateway.conftest import Api
from tests.gateway.played_worker import work, working
from tests.pictures import encoded, opened, photo

GREY = "make it black and white"
PNG = encoded(photo(size=(60, 40)), "PNG")
_WAIT_S = 20.0


@pytest.fixture
async def client(api: Api) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(api.url, api.key, away_s=0.0) as made:
        yield made


async def spec_of(api: Api, job: Any) -> Any:
    return (await api.connections.jobs.get("t1", job["id"])).spec


async def test_a_picture_may_be_a_path_bytes_a_file_an_image_an_upload_or_an_earlier_edit(
    api: Api, client: AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    uploaded = await client.upload(file)
    async with working(api, result=PNG):
        edited = await client.edit(file, GREY, timeout_s=_WAIT_S)
        with file.open("rb") as stream:
            given: list[Any] = [str(file), PNG, bytearray(PNG), stream, io.BytesIO(PNG), Image.open(file), uploaded["image_id"]]
            results = [await client.edit(one, GREY, timeout_s=_WAIT_S) for one in (*given, edited.job["id"])]
    jobs = [edited.job, *(one.job for one in results)]
    assert len({job["id"] for job in jobs}) == 9
    assert {(job["input"]["width"], job["input"]["height"]) for job in jobs if job["input"]} == {(60, 40)}
    same = [job["input"]["sha256"] for job in jobs if job["input"] and job["id"] != jobs[6]["id"]]
    assert len(set(same)) == 1, "only an image has to be encoded first"
    assert {one.content for one in results} == {PNG}
    assert results[0].image().size == (60, 40)
    assert results[0].save(tmp_path).read_bytes() == results[0].save(tmp_path / "b.png").read_bytes() == PNG
    assert (tmp_path / f"{results[0].job['id']}.png").exists()


async def test_urls_are_named_and_wishes_are_handed_on(api: Api, client: AsyncClient) -> None:
    job = await client.submit("https://example.com/a.png", GREY, output_format="webp", metadata={"order": "7"}, deadline_s=60)
    spec = await spec_of(api, job)
    assert (spec.image.url, spec.output_format, spec.metadata) == ("https://example.com/a.png", "webp", {"order": "7"})
    assert (await client.jobs(limit=1, status="queued"))["jobs"][0]["id"] == job["id"]
    assert (await client.jobs(status="failed"))["jobs"] == []


async def test_references_keep_their_order_however_they_are_given(
    api: Api, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.leases.renew("w1", slots=8, providers=tuple(load_catalog().providers), held=())
    one, two = (encoded(photo(size=(60, side)), "PNG") for side in (41, 42))
    url = "https://example.com/r.png"
    cases: list[list[bytes | str]] = [[one, two], [one, url, two]]
    for references in cases:
        spec = await spec_of(api, await client.submit(PNG, "put them together", references=references))
        found = [ref.url or ref.info.height for ref in spec.inputs_of(Role.REFERENCE)]
        assert found == [41, *([url] if url in references else []), 42]
    monkeypatch.setattr("gateway.client.picture_calls._INLINE_MAX_BYTES", len(one) + 1)
    spec = await spec_of(api, await client.submit(PNG, "put them together", references=[one, two]))
    assert [ref.info.height for ref in spec.inputs_of(Role.REFERENCE)] == [41, 42]


async def test_large_pictures_go_ahead_of_the_edit_and_are_the_same_edit_again(
    api: Api, client: AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.picture_calls._INLINE_MAX_BYTES", 100)
    (tmp_path / "a.png").write_bytes(PNG)
    first = await client.submit(tmp_path / "a.png", GREY, idempotency_key="mine")
    spec = await spec_of(api, first)
    assert "/upl_" in spec.image.key
    assert (await client.submit(PNG, GREY, idempotency_key="mine"))["id"] == first["id"]
    with pytest.raises(IdempotencyMismatch):
        await client.submit(PNG, "rotate 90 degrees clockwise", idempotency_key="mine")
    assert (await api.stored())[1] == 1


async def test_an_edit_that_fails_is_raised_as_what_it_failed_of(api: Api, client: AsyncClient) -> None:
    async with working(api, failing=GREY):
        with pytest.raises(ProviderBadOutput, match=r"edit_.* failed: no") as failed:
            await client.edit(PNG, GREY, timeout_s=_WAIT_S)
    assert failed.value.job is not None
    assert (failed.value.job["status"], failed.value.status) == ("failed", 200)


async def test_an_edit_that_takes_too_long_goes_on(api: Api, client: AsyncClient) -> None:
    with pytest.raises(TimeoutError, match=r"edit_\w+ has not ended within 0\.05 s; it goes on"):
        await client.edit(PNG, GREY, timeout_s=0.05)
    assert (await client.jobs())["jobs"][0]["status"] == "queued"


async def test_every_change_is_streamed(api: Api, client: AsyncClient) -> None:
    job, course = await client.submit(PNG, GREY), list[str]()
    async for one in client.stream(job["id"]):
        if not course:
            assert await work(api) == 1
        course.append(one["status"])
    assert (course[0], course[-1]) == ("queued", "succeeded")
    assert [one["status"] async for one in client.stream(job["id"])] == ["succeeded"]


async def test_a_canceled_edit_may_be_canceled_again_and_a_finished_one_not(api: Api, client: AsyncClient) -> None:
    job = await client.submit(PNG, GREY)
    assert [(await client.cancel(job["id"]))["status"] for _ in range(2)] == ["canceled", "canceled"]
    done = await client.submit(PNG, GREY)
    await work(api)
    with pytest.raises(AlreadyFinished):
        await client.cancel(done["id"])
    said = await client.feedback(done["id"], 5, accepted=True, comment="good")
    assert (said["rating"], said["accepted"], said["comment"]) == (5, True, "good")


async def test_the_catalogue_the_recommendation_and_a_price_are_asked_for(api: Api, client: AsyncClient) -> None:
    await api.leases.renew("w1", slots=8, providers=tuple(load_catalog().providers), held=())
    listed = await client.models(operation="erase", supports_mask=True)
    assert {"erase"} <= set(listed["models"][0]["operations"])
    detail = await client.model(listed["models"][0]["id"])
    assert detail["pricing"]
    answer = await client.recommend(operation="general_edit", image_resolution={"width": 1024, "height": 1024}, user_tier="free")
    assert answer["alternatives"]
    blue = "make the cup blue"
    quote = await client.quote(image_resolution=(60, 40), prompt=blue)
    assert (await client.quote(PNG, blue))["total"] == quote["total"] > 0
    job = await client.submit(PNG, blue, quote_id=quote["quote_id"])
    assert job["cost"]["quoted"] == quote["total"]
    held = await client.quote(PNG, blue)
    with pytest.raises(TimeoutError):
        await client.edit(PNG, blue, quote_id=held["quote_id"], timeout_s=0.1)
    assert [job["cost"]["quoted"] for job in (await client.jobs(limit=2))["jobs"]] == [held["total"], quote["total"]]
    usage = await client.usage(group_by="day,model")
    assert (usage["rows"], usage["total"]["usd"]) == ([], 0)
    assert (await client.limits())["image_max_bytes"] > 0


async def test_refusals_are_classes_that_say_where_and_what(api: Api, client: AsyncClient) -> None:
    with pytest.raises(UnknownModel, match="/model") as unknown:
        await client.submit(PNG, GREY, model="local-adjusd")
    assert unknown.value.errors[0]["pointer"] == "/model"
    assert unknown.value.request_id.startswith("req_")
    wrong: dict[str, Any] = {"sede": 1, "steps": -1}
    with pytest.raises(ValidationFailed, match=r"/steps: Input should be .*; /sede: .*did you mean seed"):
        await client.submit(PNG, GREY, **wrong)
    with pytest.raises(NotFound):
        await client.model("nothing")
    job = await client.submit(PNG, GREY)
    with pytest.raises(NotFinished) as early:
        await client.result(job["id"])
    assert (early.value.code, early.value.retryable) == ("not_finished", False)
    async with AsyncClient(api.url, "es_wrong") as stranger:
        with pytest.raises(Unauthorized):
            await stranger.limits()


async def test_what_is_no_picture_is_said_before_anything_is_sent(client: AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with (tmp_path / "text").open() as text:
        cases: list[tuple[Any, str]] = [
            ("missing.png", "image: there is no file 'missing.png' in /.*; give a path"),
            (tmp_path, "image: there is no file"),
            (b"", "image: there are no bytes in it"),
            (text, "image: the file gave text; .*opened with 'rb'"),
            (7, "image: int is no picture"),
        ]
        for picture, said in cases:
            with pytest.raises(PictureUnusable, match=said):
                await client.submit(picture, GREY)
    with pytest.raises(PictureUnusable, match=r"^mask: "):
        await client.submit(PNG, operation="erase", mask="missing.png")
    with pytest.raises(ValueError, match="need not be uploaded"):
        await client.upload("https://example.com/a.png")


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://example.com", "http://", ""])
def test_an_address_that_is_none_is_said_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        AsyncClient(address, "es_test")


@pytest.mark.parametrize("key", ["", "es_\nX-Evil: 1", "schlüssel"])
def test_a_key_that_is_none_is_said_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="api_key: this is no API key") as refused:
        AsyncClient("http://127.0.0.1", key)
    assert not key or key not in str(refused.value)


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await AsyncClient("http://127.0.0.1", "es_test").limits()


async def test_a_result_goes_to_a_file_or_into_a_folder(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    job = await client.submit(PNG, GREY)
    with pytest.raises(ValueError, match="has no result, it is queued"):
        await client.save_result(job, tmp_path)
    await work(api, result=PNG)
    done = await client.wait(job["id"], timeout_s=_WAIT_S)
    assert await client.save_result(done, str(tmp_path)) == tmp_path / f"{job['id']}.png"
    assert opened((await client.save_result(done, tmp_path / "x.png")).read_bytes()).size == (60, 40)


async def test_batches_take_pictures_as_edits_do_and_upload_each_once(api: Api, client: AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    items = [{"custom_id": str(n), "image": picture, "prompt": GREY} for n, picture in enumerate([file, file, str(file), PNG])]
    batch = await client.submit_batch(
        [*items, {"custom_id": "4", "image": "https://example.com/a.png", "prompt": GREY}], name="five"
    )
    keys = [spec.image.key for spec in [await spec_of(api, job) async for job in client.results(batch["id"])]]
    assert len(set(keys[:3])) == 1
    assert len(set(keys)) == 3
    async with working(api, failing="1"):
        ended = await client.wait_batch(batch["id"], timeout_s=_WAIT_S)
    assert ended["counts"] == {**batch["counts"], "succeeded": 4, "failed": 1, "queued": 0}
    found = [(job["custom_id"], job["status"]) async for job in client.results(batch["id"])]
    assert found == [("0", "succeeded"), ("1", "failed"), ("2", "succeeded"), ("3", "succeeded"), ("4", "succeeded")]
    with pytest.raises(PictureUnusable, match=r"there is no file 'gone\.png'"):
        await client.submit_batch([{"image": "gone.png"}])


async def test_a_held_batch_is_the_end_of_waiting(api: Api, client: AsyncClient) -> None:
    batch = await client.submit_batch([{"image": PNG, "prompt": GREY}] * 2, canary=1)
    async with working(api):
        assert (await client.wait_batch(batch["id"], timeout_s=_WAIT_S))["status"] == "held"
        await client.release_batch(batch["id"])
        seen = [one["status"] async for one in client.stream_batch(batch["id"])]
    assert seen[-1] == "completed"
    with pytest.raises(ApiError) as ended:
        await client.cancel_batch(batch["id"])
    assert ended.value.code == "already_finished"
