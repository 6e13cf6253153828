"""What is learned, written down and read by several processes: on fakeredis and on a server."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from shared.candidates import Circumstances
from shared.catalog.load import load_catalog
from shared.edit import Operation
from shared.errors import NotFound, StoreUnavailable
from shared.job import Course, JobState
from shared.learned import Learned, Performance
from shared.recommend import recommend
from shared.store import experience
from shared.store.connection import Scripts
from shared.store.experience import CallEnd, Experiences, Feedback
from shared.store.jobs import Jobs
from shared.store.leases import Leases
from tests.conftest import make_job, make_spec, take_one

CATALOG = load_catalog()
MODEL, PROVIDER, EDIT = "qwen-edit", "wavespeed", Operation.GENERAL_EDIT
OTHER = "qwen-edit-plus"
DAY_MS = 86_400_000


def call(outcome: Any = "good", *, seconds: float | None = 2.0, micro_usd: int = 20_000, **changes: Any) -> CallEnd:
    fields = {"model": MODEL, "provider": PROVIDER, "operation": EDIT, **changes}
    return CallEnd(outcome=outcome, said=outcome, seconds=seconds, micro_usd=micro_usd, **fields)


@pytest.fixture
def experiences(scripts: Scripts) -> Experiences:
    return Experiences(scripts, CATALOG)


async def look(scripts: Scripts) -> Learned:
    """What a process that has read nothing yet sees."""
    return await Experiences(scripts, CATALOG).look()


async def now_ms(redis: Any) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def make_due(redis: Any, name: str) -> None:
    """End the pause of a circuit."""
    since, _, pause = (await redis.hget("circuits", name)).split()
    await redis.hset("circuits", name, f"{since} {await now_ms(redis) - 1} {pause}")


async def pause_ms(redis: Any, name: str) -> int:
    return int((await redis.hget("circuits", name)).split()[2])


async def test_without_calls_nothing_is_known_and_the_score_is_the_formulas(experiences: Experiences) -> None:
    learned = await experiences.look()
    assert learned.experience_of(EDIT, await experiences.history("t1")) == {}
    assert learned.performance(MODEL).p50_s is None
    bare, now = (
        recommend(make_spec(prompt="paint it blue"), catalog=CATALOG, now=Circumstances(configured=[PROVIDER], **more)).score
        for more in ({}, {"experience": learned.experience_of(EDIT, {}), "down": learned.down})
    )
    assert bare == now
    assert (now.speed, now.history, now.performance, now.rating) == (0, 0, 0, 0)


async def test_calls_are_counted_by_how_they_ended(scripts: Scripts, experiences: Experiences) -> None:
    for end in (
        call(),
        call(seconds=None),
        call("bad", seconds=60.0),
        call("neutral", seconds=0.1, micro_usd=0),
        call("neutral", micro_usd=5),
        call(operation=Operation.INPAINT, model=OTHER),
    ):
        await experiences.record(end)
    learned = await look(scripts)
    (known,) = learned.performances(MODEL).values()
    assert (known.calls, known.successes, known.spend_usd) == (3, 2, Decimal("0.060005"))
    # Only the one good call that told its time counts.
    assert (known.p50_s, known.p90_s) == (pytest.approx(2.0, rel=0.1), pytest.approx(2.0, rel=0.1))
    assert set(learned.performances(OTHER)) == {Operation.INPAINT}
    assert set(learned.experience_of(EDIT, {})) == {MODEL}


async def test_a_model_keeps_a_bounded_number_of_fields(redis: Any, experiences: Experiences) -> None:
    await asyncio.gather(*(experiences.record(call(seconds=1.04**number)) for number in range(500)))
    (day,) = await redis.keys("learned:*")
    assert 40 < await redis.hlen(day) <= 81 + 2
    assert 7 * DAY_MS < await redis.pttl(day) <= 8 * DAY_MS
    assert set(await redis.keys("*")) == {day, f"circuit:model:{MODEL}", "telemetry"}
    assert await redis.hlen("telemetry") <= 20


async def test_seven_days_count_and_the_eighth_does_not(redis: Any, scripts: Scripts, experiences: Experiences) -> None:
    today = await now_ms(redis) // DAY_MS
    for day in range(today - 8, today + 1):
        await redis.hset(f"learned:{day}", f"{MODEL}|{EDIT}|good", 1)
    assert (await experiences.look()).performance(MODEL).calls == 7


async def test_days_that_are_over_are_read_once_and_forgotten_when_they_leave_the_window(
    redis: Any, scripts: Scripts, experiences: Experiences
) -> None:
    for day in range(100, 108):
        await redis.hset(f"learned:{day}", f"{MODEL}|{EDIT}|good", 10 ** (day - 100))

    async def calls(today: int) -> int:
        return sum(part[MODEL, EDIT]["good"] for part in await experiences._figures(today) if part)

    assert await calls(106) == 1_111_111
    for day in range(100, 106):
        await redis.delete(f"learned:{day}")
    await redis.hset("learned:106", f"{MODEL}|{EDIT}|good", 5_000_000)
    # Of a day that is not over everything is read, also what came after it was read first; so on the day after it.
    assert await calls(106) == 5_111_111
    assert await calls(107) == 15_111_110
    assert set(experiences._past) == set(range(101, 107))


async def test_what_was_read_serves_for_a_while(
    scripts: Scripts, experiences: Experiences, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await experiences.look()
    await experiences.record(call())
    monkeypatch.setattr(experience, "_CIRCUITS_S", 3_600.0)
    assert await experiences.look() is first
    monkeypatch.setattr(experience, "_CIRCUITS_S", 0.0)
    # The circuits are read again, the statistics are not yet old enough.
    again = await experiences.look()
    assert (again.performance(MODEL), again.now_ms >= first.now_ms) == (Performance(), True)
    monkeypatch.setattr(experience, "_STATISTICS_S", 0.0)
    assert (await experiences.look()).performance(MODEL).calls == 1


async def test_five_failures_in_a_row_open_the_models_circuit_for_every_process(
    redis: Any, scripts: Scripts, experiences: Experiences
) -> None:
    for outcome in ("bad", "bad", "bad", "bad", "neutral", "good", "bad", "bad", "bad", "bad"):
        await experiences.record(call(outcome))
    assert (await look(scripts)).health(MODEL).state == "ok"
    await experiences.record(call("bad"))
    learned = await look(scripts)
    assert (learned.down, learned.probing) == ({MODEL}, set())
    health = learned.health(MODEL)
    assert (health.state, health.since_ms is not None) == ("down", True)
    assert health.retry_at_ms == (health.since_ms or 0) + 15_000
    assert learned.health(OTHER).state == "ok"


async def test_half_of_ten_calls_open_it_and_less_do_not(scripts: Scripts, experiences: Experiences) -> None:
    for _ in range(4):
        await experiences.record(call("good"))
        await experiences.record(call("bad"))
    assert (await look(scripts)).down == set()
    await experiences.record(call("good"))
    assert (await look(scripts)).down == set()
    await experiences.record(call("bad"))
    assert (await look(scripts)).down == {MODEL}


async def test_failures_of_an_earlier_window_do_not_count(redis: Any, scripts: Scripts, experiences: Experiences) -> None:
    key = f"circuit:model:{MODEL}"
    before = {"window": await now_ms(redis) - 31_000, "good": 5, "bad": 9, "row": 0}
    await redis.hset(key, mapping=before)
    await experiences.record(call("bad"))
    assert (await look(scripts)).down == set()
    counts = await redis.hgetall(key)
    assert (counts["good"], counts["bad"], counts["row"]) == ("0", "1", "1")


async def test_one_of_all_processes_tries_a_model_that_was_down(redis: Any, scripts: Scripts, settings: Any) -> None:
    here, there = Experiences(scripts, CATALOG), Experiences(Scripts(redis, timeout_s=2.0), CATALOG)
    assert await here.may_probe(MODEL)
    assert await there.may_probe(MODEL)
    for _ in range(5):
        await here.record(call("bad"))
    assert not await there.may_probe(MODEL)
    await make_due(redis, f"model:{MODEL}")
    learned = await there.look()
    assert (learned.down, learned.probing) == (set(), {MODEL})
    assert learned.health(MODEL).state == "degraded"
    claims = await asyncio.gather(*(one.may_probe(MODEL) for one in (here, there, here, there)))
    assert sum(claims) == 1
    assert 0 < await redis.pttl(f"probe:model:{MODEL}") <= 30_000
    # Its holder died: the claim ends by itself.
    await redis.delete(f"probe:model:{MODEL}")
    assert await there.may_probe(MODEL)
    await there.record(call("good"))
    assert (await look(scripts)).health(MODEL).state == "ok"
    assert await redis.keys("probe:*") == await redis.keys("circuits") == []


async def test_a_failed_probe_doubles_the_pause_up_to_five_minutes(
    redis: Any, scripts: Scripts, experiences: Experiences
) -> None:
    name = f"model:{MODEL}"
    for _ in range(5):
        await experiences.record(call("bad"))
    since_ms = (await look(scripts)).health(MODEL).since_ms
    pauses = [await pause_ms(redis, name)]
    for _ in range(6):
        await make_due(redis, name)
        assert await experiences.may_probe(MODEL)
        await experiences.record(call("bad"))
        pauses.append(await pause_ms(redis, name))
    assert pauses == [15_000, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]
    health = (await look(scripts)).health(MODEL)
    assert (health.state, health.since_ms) == ("down", since_ms)


async def test_calls_that_began_before_a_circuit_opened_change_nothing(
    redis: Any, scripts: Scripts, experiences: Experiences
) -> None:
    for outcome in ("bad", "bad", "bad", "bad", "bad", "bad", "bad", "good", "bad"):
        await experiences.record(call(outcome))
    assert (await look(scripts)).down == {MODEL}
    assert await pause_ms(redis, f"model:{MODEL}") == 15_000
    await experiences.record(call("unusable"))
    await experiences.record(call("unusable"))
    await experiences.record(call("good"))
    assert await pause_ms(redis, f"provider:{PROVIDER}") == 60_000


@pytest.mark.parametrize("answer", ["good", "neutral"])
async def test_one_refusal_of_our_account_takes_the_provider_out_until_it_answers_again(
    answer: str, redis: Any, scripts: Scripts, experiences: Experiences
) -> None:
    name = f"provider:{PROVIDER}"
    await experiences.record(call("unusable", micro_usd=0))
    learned = await look(scripts)
    assert learned.down == {model.id for model in CATALOG.models.values() if model.provider == PROVIDER}
    # It says nothing of how well the model works.
    assert learned.performance(MODEL) == Performance()
    for wanted_ms in (120_000, 240_000, 480_000, 600_000, 600_000):
        await make_due(redis, name)
        await experiences.record(call("unusable", micro_usd=0))
        assert await pause_ms(redis, name) == wanted_ms
    await make_due(redis, name)
    assert await experiences.may_probe(OTHER)
    assert not await experiences.may_probe(MODEL)
    await experiences.record(call("bad"))
    assert (await look(scripts)).health(OTHER).state == "degraded"
    await experiences.record(call(answer, model=OTHER))
    assert (await look(scripts)).health(MODEL).state == "ok"


async def test_a_probe_needs_both_circuits_and_takes_none_if_one_is_not_due(redis: Any, experiences: Experiences) -> None:
    for outcome in ("bad", "bad", "bad", "bad", "bad", "unusable"):
        await experiences.record(call(outcome))
    await make_due(redis, f"model:{MODEL}")
    assert not await experiences.may_probe(MODEL)
    assert await redis.keys("probe:*") == []
    await make_due(redis, f"provider:{PROVIDER}")
    assert await experiences.may_probe(MODEL)
    assert len(await redis.keys("probe:*")) == 2


async def test_a_claim_whose_reply_was_lost_is_found_again(redis: Any, scripts: Scripts, experiences: Experiences) -> None:
    name = f"model:{MODEL}"
    for _ in range(5):
        await experiences.record(call("bad"))
    await make_due(redis, name)
    assert [await scripts.run("probe", "circuits", "mine", 30_000, name) for _ in range(2)] == [1, 1]
    assert await scripts.run("probe", "circuits", "another's", 30_000, name) == 0


async def finished(jobs: Jobs, leases: Leases, tenant: str = "t1") -> str:
    accepted = await jobs.accept(make_job(tenant))
    await leases.finish(await take_one(leases), JobState.SUCCEEDED, Course(model=MODEL))
    return accepted.record.id


async def test_the_last_rating_counts_however_often_it_is_sent(
    redis: Any, scripts: Scripts, jobs: Jobs, leases: Leases, experiences: Experiences
) -> None:
    job_id = await finished(jobs, leases)
    assert await experiences.feedback_of("t1", job_id) is None
    about: dict[str, Any] = {"model": MODEL, "operation": EDIT}
    for rating, accepted, comment in ((1, False, "awful"), (5, True, "it's – great"), (5, True, "it's – great"), (4, None, "")):
        await experiences.rate("t1", job_id, **about, rating=rating, accepted=accepted, comment=comment)
        known = (await look(scripts)).performance(MODEL)
        assert (known.ratings, known.rating_sum) == (1, rating)
        judged = {} if accepted is None else {(MODEL, EDIT): (1, int(accepted))}
        assert {pair: counts for pair, counts in (await experiences.history("t1")).items() if counts[0]} == judged
        said = await experiences.feedback_of("t1", job_id)
        assert said is not None
        assert said == Feedback(rating, accepted, comment, said.at_ms)
        assert abs(said.at_ms - await now_ms(redis)) < 60_000
    assert await redis.pttl(f"job:{job_id}") > 0
    assert (await jobs.get("t1", job_id)).state is JobState.SUCCEEDED


async def test_history_is_each_tenants_own_and_for_each_operation(
    redis: Any, jobs: Jobs, leases: Leases, experiences: Experiences
) -> None:
    for tenant, operation, accepted in (
        ("t1", EDIT, True),
        ("t1", EDIT, False),
        ("t1", Operation.INPAINT, True),
        ("t2", EDIT, False),
    ):
        job_id = await finished(jobs, leases, tenant)
        await experiences.rate(tenant, job_id, model=MODEL, operation=operation, rating=3, accepted=accepted, comment="")
    assert await experiences.history("t1") == {(MODEL, EDIT): (2, 1), (MODEL, Operation.INPAINT): (1, 1)}
    assert await experiences.history("t2") == {(MODEL, EDIT): (1, 0)}
    assert await experiences.history("t3") == {}
    for key in await redis.keys("accepted:*"):
        assert 90 * DAY_MS < await redis.pttl(key) <= 98 * DAY_MS


async def test_ninety_days_of_history_count_and_no_more(redis: Any, experiences: Experiences) -> None:
    this_week = await now_ms(redis) // (7 * DAY_MS)
    for week in range(this_week - 14, this_week + 1):
        await redis.hset(f"accepted:t1:{week}", f"{MODEL}|{EDIT}|yes", 1)
    assert await experiences.history("t1") == {(MODEL, EDIT): (13, 13)}


async def test_what_is_taken_back_is_taken_from_the_week_it_was_counted_in(
    redis: Any, jobs: Jobs, leases: Leases, experiences: Experiences
) -> None:
    job_id = await finished(jobs, leases)
    about: dict[str, Any] = {"model": MODEL, "operation": EDIT, "comment": ""}
    await experiences.rate("t1", job_id, **about, rating=3, accepted=True)
    (key,) = await redis.keys("accepted:*")
    earlier = int(key.rsplit(":", 1)[1]) - 1
    await redis.rename(key, f"accepted:t1:{earlier}")
    await redis.hset(f"job:{job_id}", "rated_week", earlier)
    await experiences.rate("t1", job_id, **about, rating=3, accepted=False)
    assert await redis.hgetall(f"accepted:t1:{earlier}") == {f"{MODEL}|{EDIT}|yes": "0"}
    assert await redis.hgetall(key) == {f"{MODEL}|{EDIT}|no": "1"}
    # That week is forgotten: it does not come back with less than nothing.
    await redis.delete(key)
    await experiences.rate("t1", job_id, **about, rating=3, accepted=None)
    assert not await redis.exists(key)


async def test_only_its_tenant_rates_an_edit_and_only_while_it_is_kept(
    redis: Any, jobs: Jobs, leases: Leases, experiences: Experiences
) -> None:
    job_id = await finished(jobs, leases)
    about: dict[str, Any] = {"model": MODEL, "operation": EDIT, "rating": 5, "accepted": True, "comment": ""}
    with pytest.raises(NotFound):
        await experiences.rate("t2", job_id, **about)
    await experiences.rate("t1", job_id, **about)
    assert await experiences.feedback_of("t2", job_id) is None
    await jobs.purge("t1", job_id)
    with pytest.raises(NotFound):
        await experiences.rate("t1", job_id, **about)
    assert await experiences.feedback_of("t1", job_id) is None
    assert not await redis.exists(f"job:{job_id}")


async def test_histories_in_memory_are_bounded(experiences: Experiences, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "_HISTORIES_MAX", 3)
    for number in range(10):
        await experiences.history(f"t{number}")
    assert set(experiences._histories) == {"t7", "t8", "t9"}


async def test_without_redis_nothing_is_raised_and_the_last_known_is_told(
    redis: Any, scripts: Scripts, experiences: Experiences, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        await experiences.record(call("bad"))
    await redis.hset("accepted:t1:0", f"{MODEL}|{EDIT}|yes", 1)
    before = await experiences.look()

    async def away(*command: Any) -> Any:
        raise StoreUnavailable("away", retry_after_s=1)

    monkeypatch.setattr(experience, "_CIRCUITS_S", 0.0)
    monkeypatch.setattr(scripts, "command", away)
    await experiences.record(call())
    assert not await experiences.may_probe(MODEL)
    assert await experiences.history("t1") == {}
    during = await experiences.look()
    assert (during.performance(MODEL), during.down) == (before.performance(MODEL), {MODEL})
    # A pause ends also while nobody can be asked.
    experiences._looked -= 15.0
    assert (await experiences.look()).probing == {MODEL}
    assert await Experiences(scripts, CATALOG).look() == Learned(provider_of=experiences._provider_of)
    with pytest.raises(StoreUnavailable):
        await experiences.rate("t1", "edit_x", model=MODEL, operation=EDIT, rating=1, accepted=None, comment="")
    assert "a call was not counted" in caplog.text
