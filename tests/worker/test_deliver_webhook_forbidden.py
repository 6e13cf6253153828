"""Webhooks to places that turn out to be forbidden only when they are sent: by a redirect, or by what a name leads to."""

from typing import Any

import pytest

from tests.worker.places import PRIVATE, PUBLIC, Names, free_on_every_address
from tests.worker.test_deliver_webhook_endpoints import add_endpoint, end_an_edit
from tests.worker.webhook_bench import Bench

#: Nothing private is allowed; with the fixture `two_worlds`, PUBLIC is public.
_STRICT = {"allow_private_urls": False, "webhook_schedule_s": (0, 0, 0)}
NOT_PUBLIC = "the URL's address is not public"


async def owe_an_event(bench: Bench, url: str, to: str) -> None:
    """An edit has ended, and `url` is to hear of it."""
    if to == "endpoint":
        await add_endpoint(bench, url)
    await end_an_edit(bench, **({"webhook_url": url} if to == "address of the edit" else {}))


async def delivery(bench: Bench) -> dict[str, Any]:
    (found,) = (await bench.outbox.page("t1")).deliveries
    return await bench.now(found)


both = pytest.mark.parametrize("to", ["address of the edit", "endpoint"])


@both
async def test_a_name_that_turns_private_between_two_attempts_is_sent_nothing_more(
    to: str, bench: Bench, receivers: Any, two_worlds: None
) -> None:
    port = free_on_every_address()
    public, _ = await receivers(host=PUBLIC, port=port)
    private, _ = await receivers(host=PRIVATE, port=port)
    public.answers = ["close"]
    names = bench.lookup = Names([PUBLIC], [PRIVATE])
    await owe_an_event(bench, f"http://rebind.example:{port}/hook", to)
    for tries, error in ((1, "the URL could not be reached or its answer broke off"), (2, NOT_PUBLIC)):
        await bench.send(**_STRICT)
        stored = await delivery(bench)
        assert (stored["state"], stored["tries"], stored["error"]) == ("pending", str(tries), error)
    assert (len(public.received), private.received, names.asked) == (1, [], ["rebind.example"] * 2)
    # Back where it was, it gets the event.
    public.answers = [204]
    names.answers = [[PUBLIC]]
    await bench.send(**_STRICT)
    assert (await delivery(bench))["state"] == "delivered"
    assert (len(public.ids()), len(set(public.ids())), private.received) == (2, 1, [])


@both
@pytest.mark.parametrize("addresses", [[PRIVATE], [PUBLIC, PRIVATE], [PRIVATE, PUBLIC], ["169.254.169.254"]], ids=" ".join)
async def test_a_name_that_leads_to_a_private_address_too_is_sent_nothing(
    addresses: list[str], to: str, bench: Bench, receivers: Any, two_worlds: None
) -> None:
    port = free_on_every_address()
    public, _ = await receivers(host=PUBLIC, port=port)
    private, _ = await receivers(host=PRIVATE, port=port)
    bench.lookup = Names(addresses)
    await owe_an_event(bench, f"http://both.example:{port}/hook", to)
    await bench.send(**_STRICT)
    stored = await delivery(bench)
    assert (stored["state"], stored["error"], public.received, private.received) == ("pending", NOT_PUBLIC, [], [])


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_private_place_is_a_failed_attempt_that_reaches_nobody(
    status: int, to: str, bench: Bench, receivers: Any, two_worlds: None
) -> None:
    port = free_on_every_address()
    public, _ = await receivers(host=PUBLIC, port=port)
    private, private_url = await receivers(host=PRIVATE, port=port)
    public.answers = [(status, {"Location": private_url})]
    bench.lookup = Names([PUBLIC])
    await owe_an_event(bench, f"http://front.example:{port}/hook", to)
    await bench.send(**_STRICT)
    stored = await delivery(bench)
    assert (stored["state"], stored["status"], stored["error"]) == ("pending", str(status), "redirects are not followed")
    assert (len(public.received), private.received) == (1, [])
