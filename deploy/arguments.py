"""Kinds of arguments that several commands take."""

import argparse
import contextlib
import re


def add_output_options(command: argparse.ArgumentParser) -> None:
    """`--json` and `--debug`."""
    command.add_argument("--json", action="store_true", help="print JSON documents, one a line; all else on stderr")
    command.add_argument("--debug", action="store_true", help="show where an error came from")


def assignment(text: str) -> tuple[str, str]:
    """FIELD=VALUE."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=VALUE")
    return name, value


def amount(text: str) -> float:
    """USD."""
    return _number(text, "an amount", least=0.0)


def rate(text: str) -> float:
    """A part of all."""
    return _number(text, "a rate above 0, up to 1", least=1e-9, most=1.0)


def seconds(text: str) -> float:
    """Up to a day."""
    return _number(text, "a time in seconds above 0, up to a day", least=0.001, most=86_400)


def count(text: str) -> int:
    """At least one."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def rating(text: str) -> int:
    """From 1 to 5."""
    if text not in "12345" or len(text) != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rating from 1 to 5")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Width and height, pixels."""
    found = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1024x768")
    return int(found[1]), int(found[2])


def day(text: str) -> str:
    """UTC."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2026-01-31")
    return text


def _number(text: str, what: str, *, least: float, most: float = 1e6) -> float:
    with contextlib.suppress(ValueError):
        if least <= (number := float(text)) <= most:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
