"""What guarded HTTP refuses; and refusing means not connecting."""

import socket
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from shared.errors import UrlFetchFailed, UrlNotAllowed
from tests.worker.places import PRIVATE, PUBLIC, Names, OpenHttp, Place, StartServer, port_of
from worker import fetch

LOOPBACK_SPELLINGS = [
    "localhost",
    "LocalHost",
    "localhost.",
    "localhost.localdomain",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "127.0.0.1",
    "127.0.0.1.",
    "127.0.0.2",
    "127.255.255.254",
    "127.1",
    "127.0.1",
    "127.000.000.001",
    "2130706433",
    "02130706433",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0x7f.0.0.1",
    "0X7F.0.0.1",
    "0x7f.1",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "0x0000000007f000001",
    "①②⑦.⓪.⓪.①",
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "٠x7f.1",
    "%31%32%37.0.0.1",
    "127.0.0.1%00.example.com",
    "0",
    "0.0.0.0",
    "0x0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "[fc00::1]",
    "[ff02::1]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "224.0.0.1",
    "255.255.255.255",
    "user@127.0.0.1",
    "example.com@127.0.0.1",
    "127.0.0.1\\@example.com",
]


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
async def test_no_spelling_of_a_private_address_is_fetched(
    host: str, server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server))
    with pytest.raises(UrlNotAllowed):
        await http.download(f"http://{host}:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    with pytest.raises(UrlNotAllowed):
        await http.post(f"http://{host}:{server.port}/picture", b"", {}, 5)
    assert place.requests == []


@pytest.mark.parametrize("host", [host for host in LOOPBACK_SPELLINGS if "@" not in host])
async def test_the_socket_refuses_what_the_text_check_would_let_pass(
    host: str, server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "check_url", lambda url, **_: URL(url))
    http = await open_http(port_of(server), first_byte_s=2.0)
    with pytest.raises((UrlNotAllowed, UrlFetchFailed)):
        await http.download(f"http://{host}:{server.port}/picture", tmp_path / "into", max_bytes=1000)
    assert place.requests == []


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


def free_on_every_address() -> int:
    """A port for servers on two addresses: one that was given out for the first may be taken on the second."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::1]", "private.example", "169.254.169.254"])
async def test_a_redirect_to_a_private_place_is_refused(
    host: str, two_worlds: None, aiohttp_server: StartServer, open_http: OpenHttp, tmp_path: Path
) -> None:
    front, back = Place(), Place()
    server = await aiohttp_server(front.app(), host=PUBLIC, port=free_on_every_address())
    await aiohttp_server(back.app(), host=PRIVATE, port=server.port)
    http = await open_http(port_of(server), lookup=Names([PUBLIC], [PRIVATE]))
    target = f"http://{host}:{server.port}/picture"
    with pytest.raises(UrlNotAllowed):
        await http.download(f"http://front.example:{server.port}/to?url={target}", tmp_path / "into", max_bytes=1000)
    assert (len(front.requests), back.requests) == (1, [])


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://front.example/", "http://a:b@front.example/", "//front.example:22/"]
)
async def test_a_redirect_is_held_to_every_rule(
    target: str, two_worlds: None, aiohttp_server: StartServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    server = await aiohttp_server(place.app(), host=PUBLIC)
    http = await open_http(port_of(server), lookup=Names([PUBLIC]))
    with pytest.raises(UrlNotAllowed):
        await http.download(f"http://front.example:{server.port}/to?url={target}", tmp_path / "into", max_bytes=1000)


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
