"""The page as files and headers: no browser is needed to see these."""

import gzip
import re

import aiohttp
import pytest

from gateway.routes.studio import load_page
from tests.studio.stub import Service

_TOTAL_KB = 200
_FIRST_ZIPPED_KB = 60


async def get(url: str, **headers: str) -> tuple[int, aiohttp.typedefs.LooseHeaders, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_the_page_comes_with_a_strict_policy_and_is_asked_for_anew(service: Service) -> None:
    status, headers, body = await get(f"{service.url}/studio")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "require-trusted-types-for 'script'"):
        assert part in policy
    assert "trusted-types 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(rb"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|<style", body)
    again, _, nothing = await get(f"{service.url}/studio", **{"If-None-Match": headers["ETag"]})
    assert (again, nothing) == (304, b"")


async def test_files_are_kept_for_good_under_an_address_that_changes_with_them(service: Service) -> None:
    page = load_page()
    _, headers, body = await get(f"{service.url}/studio/static/{page.digest}/js/app.js")
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert body == page.files["js/app.js"].body


@pytest.mark.parametrize(
    "path", ["000000000000/js/app.js", "{digest}/js/none.js", "{digest}/../routes/studio.py", "{digest}/index.html"]
)
async def test_nothing_else_is_served(service: Service, path: str) -> None:
    status, _, _ = await get(f"{service.url}/studio/static/{path.format(digest=load_page().digest)}")
    assert status == 404


def test_the_whole_page_is_small_also_what_it_loads_later() -> None:
    bodies = {name: file.body for name, file in load_page().files.items() if name.endswith((".js", ".css"))}
    assert sum(map(len, bodies.values())) <= _TOTAL_KB * 1024
    first = [body for name, body in bodies.items() if not name.startswith("js/later/")]
    assert sum(len(gzip.compress(body, 9)) for body in first) <= _FIRST_ZIPPED_KB * 1024


def test_files_are_short_import_relatively_and_make_no_markup() -> None:
    for name, file in load_page().files.items():
        if not name.endswith((".js", ".css")):
            continue
        text = file.body.decode()
        assert len(text.splitlines()) <= 300, name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org)", text
        ), name
        for address in re.findall(r"(?:from|import\()\s*'([^']+)'", text):
            assert address.startswith("."), (name, address)


def test_every_script_that_is_not_for_later_is_preloaded() -> None:
    page = load_page()
    preloaded = set(re.findall(r'modulepreload" href="/studio/static/\w+/([^"]+)"', page.index.body.decode()))
    assert preloaded == {name for name in page.files if name.endswith(".js") and not name.startswith("js/later/")}
