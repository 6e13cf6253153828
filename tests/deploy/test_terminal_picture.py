"""Pictures are shown where the terminal says that it can, and nowhere else."""

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from deploy.terminal_picture import escapes, protocol_of, show
from tests.pictures import encoded, photo


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "protocol"),
    [
        ({}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux"}, None),
        ({"LC_TERMINAL": "iTerm2", "TERM": "screen-256color"}, None),
    ],
)
def test_the_environment_says_what_the_terminal_can(variables: dict[str, str], protocol: str | None) -> None:
    assert protocol_of(variables) == protocol


def test_kitty_gets_chunks_of_one_png_and_iterm_one_sequence() -> None:
    png = encoded(photo(), "PNG")
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", escapes(png, "kitty"))
    assert base64.b64decode("".join(text for _, text in chunks)) == png
    assert [keys.rpartition("m=")[2] for keys, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert (len(chunks) > 1, chunks[0][0], max(len(text) for _, text in chunks)) == (True, "f=100,a=T,q=2,m=1", 4096)
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);preserveAspectRatio=1:([^\a]*)\a", escapes(png, "iterm2"))
    assert found
    assert (int(found[1]), base64.b64decode(found[2])) == (len(png), png)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_terminal_gets_a_small_view(tmp_path: Path, form: str) -> None:
    file, out = tmp_path / "a", Terminal()
    file.write_bytes(encoded(photo(size=(1000, 500)), form))
    show(file, Console(file=out, force_terminal=True), {"LC_TERMINAL": "iTerm2"})
    found = re.search(r":([^\a]*)\a", out.getvalue())
    assert found
    assert Image.open(io.BytesIO(base64.b64decode(found[1]))).size == (480, 240)


def test_nothing_is_shown_where_nobody_looks(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(encoded(photo(), "PNG"))
    for out, forced, variables in (
        (io.StringIO(), True, {"TERM": "xterm-kitty"}),
        (Terminal(), False, {"TERM": "xterm-kitty"}),
        (Terminal(), True, {"TERM": "xterm"}),
    ):
        show(file, Console(file=out, force_terminal=forced), variables)
        assert out.getvalue() == ""
