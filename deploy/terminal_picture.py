"""Pictures in terminals that can show them, and say so in their environment.

Sources: kitty graphics protocol (f=100: PNG; a=T: transmit and show; chunks of 4096 bytes, m=1 for more to come);
iTerm2, "Inline Images Protocol" (OSC 1337, File=inline=1).
"""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps
from rich.console import Console

_SIDE_MAX_PX = 480
_CHUNK_BYTES = 4096
_KITTY_PROGRAMS, _ITERM2_PROGRAMS = ("kitty", "ghostty", "WezTerm"), ("iTerm.app",)


def protocol_of(variables: Mapping[str, str]) -> Literal["kitty", "iterm2"] | None:
    """How the terminal with this environment shows pictures; None if it does not say that it can (pure)."""
    # Inside of a multiplexer the variables are those of the terminal around it, which gets nothing as it is.
    if variables.get("TMUX") or variables.get("STY") or variables.get("TERM", "").startswith(("screen", "tmux")):
        return None
    program = variables.get("TERM_PROGRAM", "")
    if variables.get("KITTY_WINDOW_ID") or variables.get("TERM") == "xterm-kitty" or program in _KITTY_PROGRAMS:
        return "kitty"
    if program in _ITERM2_PROGRAMS or variables.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return None


def show(file: Path, console: Console, variables: Mapping[str, str]) -> None:
    """A small view of the picture, where the console is a terminal that can; else nothing. Raises OSError."""
    protocol = protocol_of(variables)
    if protocol is None or not console.is_terminal or not console.file.isatty():
        return
    with Image.open(file) as picture:
        view = ImageOps.exif_transpose(picture)
        view.thumbnail((_SIDE_MAX_PX, _SIDE_MAX_PX))
        encoded = io.BytesIO()
        view.convert("RGBA").save(encoded, "PNG")
    console.file.write(escapes(encoded.getvalue(), protocol) + "\n")
    console.file.flush()


def escapes(png: bytes, protocol: Literal["kitty", "iterm2"]) -> str:
    """What a terminal takes for this picture (pure)."""
    text = base64.b64encode(png).decode()
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(png)};preserveAspectRatio=1:{text}\a"
    chunks = [text[at : at + _CHUNK_BYTES] for at in range(0, len(text), _CHUNK_BYTES)]
    told = ["f=100,a=T,q=2,", *[""] * (len(chunks) - 1)]
    return "".join(
        f"\x1b_G{keys}m={int(number < len(chunks))};{chunk}\x1b\\"
        for number, (keys, chunk) in enumerate(zip(told, chunks, strict=True), start=1)
    )
