"""What guarded HTTP makes of the answers of real servers: whole, slow, long, broken, redirecting, unvouched for."""

import re
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from shared.errors import UrlFetchFailed
from tests.worker.places import PRIVATE, OpenHttp, Place, StartServer, port_of
from worker import fetch


async def test_up_to_three_redirects_are_followed(server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path) -> None:
    http = await open_http(port_of(server), allow_private=True)
    await http.download(f"http://127.0.0.1:{server.port}/hops?left=3", tmp_path / "into", max_bytes=1000)
    assert (tmp_path / "into").stat().st_size == 1000
    with pytest.raises(UrlFetchFailed, match="redirects"):
        await http.download(f"http://127.0.0.1:{server.port}/hops?left=4", tmp_path / "into", max_bytes=1000)


async def test_a_redirect_loop_ends_after_four_requests(
    server: TestServer, place: Place, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server), allow_private=True)
    with pytest.raises(UrlFetchFailed, match="redirects"):
        await http.download(f"http://127.0.0.1:{server.port}/loop", tmp_path / "into", max_bytes=1000)
    assert len(place.requests) == 4


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/silent", {"first_byte_s": 0.1}, "timed out"),
        ("/stalls", {"first_byte_s": 0.1}, "timed out"),
        ("/drips", {"total_s": 0.3}, "timed out"),
        ("/endless", {}, "too large"),
        ("/short", {}, "could not be reached or its answer broke off"),
        ("/packed", {}, "answered with an error"),
        ("/nowhere", {}, "answered with an error"),
        ("/x?status=404", {}, "answered with an error"),
        ("/x?status=500", {}, "answered with an error"),
        ("/x?status=204", {}, "answered with an error"),
    ],
)
async def test_a_fetch_that_fails_says_how_and_not_what_answered(
    path: str, options: dict[str, float], message: str, server: TestServer, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server), allow_private=True, **options)
    with pytest.raises(UrlFetchFailed, match=message) as failure:
        await http.download(f"http://127.0.0.1:{server.port}{path}", tmp_path / "into", max_bytes=5000)
    assert not re.search(r"127|\b[2-5]\d\d\b|banner|Python|localhost", str(failure.value))


async def test_the_byte_cap_holds_for_announced_and_unannounced_lengths(
    server: TestServer, open_http: OpenHttp, tmp_path: Path
) -> None:
    http = await open_http(port_of(server), allow_private=True)
    into = tmp_path / "into"
    await http.download(f"http://127.0.0.1:{server.port}/picture", into, max_bytes=1000)
    with pytest.raises(UrlFetchFailed, match="too large"):
        await http.download(f"http://127.0.0.1:{server.port}/picture", into, max_bytes=999)
    with pytest.raises(UrlFetchFailed, match="too large"):
        await http.download(f"http://127.0.0.1:{server.port}/endless", into, max_bytes=200_000)
    assert into.stat().st_size <= 200_000


async def test_nobody_there_is_a_failed_fetch(unused_tcp_port: int, open_http: OpenHttp, tmp_path: Path) -> None:
    http = await open_http(unused_tcp_port, allow_private=True)
    with pytest.raises(UrlFetchFailed):
        await http.download(f"http://127.0.0.1:{unused_tcp_port}/", tmp_path / "into", max_bytes=1)


async def test_a_name_that_does_not_resolve_is_a_failed_fetch(open_http: OpenHttp, tmp_path: Path) -> None:
    def unknown(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    http = await open_http(80, lookup=unknown)
    with pytest.raises(UrlFetchFailed):
        await http.download("http://unknown.example/", tmp_path / "into", max_bytes=1)


class TestPost:
    async def test_the_status_and_the_wait_come_back(self, server: TestServer, place: Place, open_http: OpenHttp) -> None:
        http = await open_http(port_of(server), allow_private=True)
        for query, status, wait in [
            ("status=204", 204, None),
            ("status=503&Retry-After=120", 503, 120.0),
            ("status=429&Retry-After=soon", 429, None),
            ("status=429&Retry-After=-5", 429, None),
            ("status=503&Retry-After=Wed, 21 Oct 2015 07:28:00 GMT", 503, 0.0),
        ]:
            posted = await http.post(f"http://127.0.0.1:{server.port}/?{query.replace(' ', '%20')}", b"{}", {"X-Own": "1"}, 5)
            assert (posted.status, posted.retry_after_s) == (status, wait)
        assert all(request.method == "POST" and request.headers["X-Own"] == "1" for request in place.requests)

    async def test_a_redirect_is_not_followed(self, server: TestServer, place: Place, open_http: OpenHttp) -> None:
        http = await open_http(port_of(server), allow_private=True)
        posted = await http.post(f"http://127.0.0.1:{server.port}/to?url=/picture", b"{}", {}, 5)
        assert (posted.status, len(place.requests)) == (302, 1)

    @pytest.mark.parametrize("path", ["/endless", "/stalls", "/drips", "/short"])
    async def test_a_long_slow_or_broken_answer_counts_by_its_status(
        self, path: str, server: TestServer, open_http: OpenHttp, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetch, "_DRAIN_S", 0.1)
        http = await open_http(port_of(server), allow_private=True)
        assert (await http.post(f"http://127.0.0.1:{server.port}{path}", b"{}", {}, 5)).status == 200

    async def test_a_silent_receiver_times_out(self, server: TestServer, open_http: OpenHttp) -> None:
        http = await open_http(port_of(server), allow_private=True)
        with pytest.raises(UrlFetchFailed, match="timed out"):
            await http.post(f"http://127.0.0.1:{server.port}/silent", b"{}", {}, 0.1)


# A certificate that nobody signed but itself; made for this test with `openssl req -x509 -newkey ec`.
SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgFgkyWch9uIPyXKgK
nHPKhOKIFotv7Sih5RTJaOc6Hw+hRANCAARGwyfSRQMUUoicoOto3i1ISn0B/ltt
F7CGBCWu+0ijhkSeEDDBbWEEZfgTGzYJjfvMP43PiSi6FIZSyb7Tf0cW
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBuDCCAV+gAwIBAgIUDJm0DG8U0vEMfWJFp77Ih5YaXpowCgYIKoZIzj0EAwIw
HjEcMBoGA1UEAwwTc2VsZi1zaWduZWQuZXhhbXBsZTAgFw0yNjExMjIxMTE5NDZa
GA8yMTI2MTAyOTExMTk0NlowHjEcMBoGA1UEAwwTc2VsZi1zaWduZWQuZXhhbXBs
ZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEbDJ9JFAxRSiJyg62jeLUhKfQH+
W20XsIYEJa77SKOGRJ4QMMFtYQRl+BMbNgmN+8w/jc+JKLoUhlLJvtN/RxajeTB3
MB0GA1UdDgQWBBRmRR2OIDPIahayR2zeYYpW7C9i8DAfBgNVHSMEGDAWgBRmRR2O
IDPIahayR2zeYYpW7C9i8DAPBgNVHRMBAf8EBTADAQH/MCQGA1UdEQQdMBuCE3Nl
bGYtc2lnbmVkLmV4YW1wbGWHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgH4e86Evu
+eq1PMG8sVk4dBmiH66rHB/59yt/mHuWlXYCIGKg/sxsedepNv/l/b5vW93VugTT
5e5cl0Vd3jx+37bZ
-----END CERTIFICATE-----
"""


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    place: Place, aiohttp_server: StartServer, open_http: OpenHttp, tmp_path: Path
) -> None:
    (tmp_path / "self-signed.pem").write_text(SELF_SIGNED)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "self-signed.pem")
    server = await aiohttp_server(place.app(), host=PRIVATE, ssl=context)
    url = f"https://127.0.0.1:{server.port}/picture"
    async with aiohttp.ClientSession() as careless, careless.get(url, ssl=False) as response:
        assert response.status == 200
    http = await open_http(port_of(server), allow_private=True)
    for trusted in (False, True):
        with pytest.raises(UrlFetchFailed):
            await http.download(url, tmp_path / "into", max_bytes=1000, trusted=trusted)
    with pytest.raises(UrlFetchFailed):
        await http.post(url, b"{}", {}, 5)
    assert len(place.requests) == 1
