"""What the surrounding environment says: the folder for data, and what is handed on to the processes we start."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_OURS = "EDIT_STUDIO_"
_PROVIDER_SUFFIXES = ("_API_KEY", "_BASE_URL")


def default_data_dir() -> Path:
    """The user's folder for data of programs. Source: XDG Base Directory Specification; Apple's file system guide."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "edit-studio"
    base = os.environ.get("XDG_DATA_HOME", "")
    # The specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "edit-studio"


def secret_given() -> str | None:
    """The master secret, if the user set one."""
    return os.environ.get(f"{_OURS}SECRET") or None


def service_given() -> tuple[str | None, str | None]:
    """Address and API key of the service that the user's own commands are to call, as far as they are set."""
    return os.environ.get(f"{_OURS}API_URL") or None, os.environ.get(f"{_OURS}API_KEY") or None


def terminal() -> Mapping[str, str]:
    """What tells of the terminal that we are run in."""
    names = ("TERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY")
    return {name: os.environ[name] for name in names if name in os.environ}


def inherited() -> dict[str, str]:
    """Everything: for our own processes, so that the user's settings and providers' keys reach them."""
    return dict(os.environ)


def inherited_without_settings() -> dict[str, str]:
    """Everything but our settings and providers' keys: for a stack that must not depend on who starts it."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_OURS) and not name.endswith(_PROVIDER_SUFFIXES)
    }


def bare() -> dict[str, str]:
    """Next to nothing: for foreign servers, which need none of our secrets."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
