"""What guarded HTTP refuses; and refusing means not connecting."""

from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from shared.errors import UrlFetchFailed, UrlNotAllowed
from tests.forbidden_urls import ADDRESSES, HOSTS, METADATA_ADDRESSES, PRIVATE_ADDRESSES, URLS
from tests.worker.places import PRIVATE, PUBLIC, Names, OpenHttp, Place, StartServer, free_on_every_address, port_of
from worker import fetch
from worker.fetch import GuardedHttp


async def taken(http: GuardedHttp, urls: Iterable[str], into: Path) -> list[str]:
    """Those of `urls` that were not refused, whether to fetch or to post to."""

    async def refuses(asked: Awaitable[object]) -> bool:
        try:
            await asked
        except UrlNotAllowed:
            return True
        except UrlFetchFailed:
            return False
        return False

    return [
        url
        for url in urls
        if not await refuses(http.download(url, into, max_bytes=1000)) or not await refuses(http.post(url, b"", {}, 5))
    ]


async def test_no_spelling_of_a_private_address_is_fetched(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server))
    urls = [*(f"http://{host}:{server.port}/picture" for host in HOSTS), *URLS]
    assert await taken(http, urls, tmp_path / "into") == []
    assert place.requests == []


async def test_the_socket_refuses_what_the_text_check_would_let_pass(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "check_url", lambda url, **_: URL(url))
    http = await open_http(port_of(server), first_byte_s=2.0)
    for host in ADDRESSES:
        if "@" not in host:
            with pytest.raises((UrlNotAllowed, UrlFetchFailed)):
                await http.download(f"http://{host}:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    assert place.requests == []


@pytest.mark.parametrize("address", [*PRIVATE_ADDRESSES, *METADATA_ADDRESSES])
async def test_a_public_name_that_leads_to_a_special_address_is_refused(
    address: str, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(80, lookup=Names([address]))
    assert await taken(http, ["http://public.example/"], tmp_path / "into") == []


async def test_metadata_is_not_fetched_where_private_urls_are_allowed(open_http: OpenHttp, tmp_path: Path) -> None:
    for address in METADATA_ADDRESSES:
        http = await open_http(80, allow_private=True, lookup=Names([address]))
        host = f"[{address}]" if ":" in address else address
        assert await taken(http, [f"http://{host}/", "http://metadata.example/"], tmp_path / "into") == []


async def test_a_name_with_a_private_address_is_refused(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server), lookup=Names([PRIVATE]))
    with pytest.raises(UrlNotAllowed):
        await http.download(f"http://rebind.example:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    assert place.requests == []


@pytest.mark.parametrize("addresses", [[PUBLIC, PRIVATE], [PRIVATE, PUBLIC]])
async def test_a_name_with_a_public_and_a_private_address_is_refused(
    addresses: list[str], two_worlds: None, aiohttp_server: StartServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    server = await aiohttp_server(place.app(), host=PUBLIC)
    http = await open_http(port_of(server), lookup=Names(addresses))
    with pytest.raises(UrlNotAllowed):
        await http.download(f"http://both.example:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    assert place.requests == []


async def test_a_name_that_turns_private_is_fetched_from_its_checked_address_and_refused_afterwards(
    two_worlds: None, aiohttp_server: StartServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    server = await aiohttp_server(place.app(), host=PUBLIC, port=free_on_every_address())
    other = Place()
    await aiohttp_server(other.app(), host=PRIVATE, port=server.port)
    names = Names([PUBLIC], [PRIVATE])
    url = f"http://rebind.example:{server.port}/short"
    http = await open_http(port_of(server), lookup=names)
    # The first answer breaks off, so that the second download needs a new connection and a new lookup.
    with pytest.raises(UrlFetchFailed):
        await http.download(url, tmp_path / "into", max_bytes=1000)
    assert (len(place.requests), names.asked) == (1, ["rebind.example"])
    with pytest.raises(UrlNotAllowed):
        await http.download(url, tmp_path / "into", max_bytes=1000)
    assert (len(place.requests), other.requests) == (1, [])


async def test_no_redirect_leads_to_a_forbidden_place(
    two_worlds: None, aiohttp_server: StartServer, open_http: OpenHttp, tmp_path: Path
) -> None:
    front, back = Place(), Place()
    server = await aiohttp_server(front.app(), host=PUBLIC, port=free_on_every_address())
    await aiohttp_server(back.app(), host=PRIVATE, port=server.port)

    def lookup(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return Names([PUBLIC if host == "front.example" else PRIVATE])(host, port)

    http = await open_http(port_of(server), lookup=lookup)
    start = f"http://front.example:{server.port}/to?"
    targets = [f"http://{host}:{server.port}/picture" for host in (*HOSTS, "private.example")]
    # What holds line ends is no header; and these name no host, so that they lead to the same one. Source: RFC 3986 section 5.2.
    on_the_same_server = {"http:127.0.0.1", "http:/127.0.0.1/", "http:///127.0.0.1/", "http://"}
    targets += [url for url in URLS if url.isprintable() and url not in on_the_same_server]
    targets += ["//front.example:22/", "http://a:b@front.example/", "//[::1/", "http://[/"]
    for target in targets:
        with pytest.raises(UrlNotAllowed):
            await http.download(start + urlencode({"url": target}), tmp_path / "into", max_bytes=1000)
    assert (len(front.requests), back.requests) == (len(targets), [])


async def test_private_urls_are_fetched_when_the_operator_allows_them(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    # Any port will do then: what listens inside does so anywhere.
    http = await open_http(80, allow_private=True)
    for host in ("127.0.0.1", "localhost"):
        content_type = await http.download(f"http://{host}:{server.port}/picture", tmp_path / host, max_bytes=1000)
        assert content_type == "image/png"
        assert (tmp_path / host).read_bytes() == b"p" * 1000
    with pytest.raises(UrlNotAllowed):
        await http.download("http://169.254.169.254/", tmp_path / "metadata", max_bytes=1000)


async def test_a_proxy_in_the_environment_is_ignored(
    two_worlds: None,
    aiohttp_server: StartServer,
    place: Place,
    open_http: OpenHttp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = await aiohttp_server(place.app(), host=PUBLIC)
    monkeypatch.setenv("http_proxy", f"http://{PUBLIC}:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    http = await open_http(80, lookup=Names([PRIVATE]))
    with pytest.raises(UrlNotAllowed):
        await http.download("http://private.example/", tmp_path / "into", max_bytes=1)
    assert place.requests == []


async def test_requests_say_who_asks_and_carry_no_cookies(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server), allow_private=True)
    for _ in range(2):
        await http.download(f"http://localhost:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    assert all(request.headers["User-Agent"].startswith("edit-studio/") for request in place.requests)
    assert not any("Cookie" in request.headers for request in place.requests)


class TestTrusted:
    """A provider's configured server, on a private address and a port that callers may not use."""

    async def test_its_own_pages_and_redirects_to_itself_are_fetched(
        self, server: TestServer, open_http: OpenHttp, tmp_path: Path
    ) -> None:
        http = await open_http(80)
        for path in ("/picture", "/hops?left=2", f"/to?url=http://127.0.0.1:{server.port}/picture"):
            await http.download(f"http://127.0.0.1:{server.port}{path}", tmp_path / "into", max_bytes=1000, trusted=True)

    async def test_the_trust_ends_with_the_call(
        self, server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
    ) -> None:
        http = await open_http(port_of(server), lookup=Names([PRIVATE]))
        url = f"http://provider.example:{server.port}/picture"
        await http.download(url, tmp_path / "into", max_bytes=1000, trusted=True)
        with pytest.raises(UrlNotAllowed):
            await http.download(url, tmp_path / "into", max_bytes=1000)
        assert len(place.requests) == 1

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "other.example"])
    async def test_a_redirect_to_another_private_place_is_refused(
        self, host: str, server: TestServer, aiohttp_server: StartServer, open_http: OpenHttp, tmp_path: Path
    ) -> None:
        other = Place()
        elsewhere = await aiohttp_server(other.app(), host=PRIVATE)
        http = await open_http(port_of(elsewhere), lookup=Names([PRIVATE]))
        url = f"http://127.0.0.1:{server.port}/to?url=http://{host}:{elsewhere.port}/picture"
        with pytest.raises(UrlNotAllowed):
            await http.download(url, tmp_path / "into", max_bytes=1000, trusted=True)
        assert other.requests == []

    async def test_link_local_addresses_stay_forbidden(self, open_http: OpenHttp, tmp_path: Path) -> None:
        http = await open_http(80)
        with pytest.raises(UrlNotAllowed):
            await http.download("http://169.254.169.254/latest", tmp_path / "into", max_bytes=1000, trusted=True)
