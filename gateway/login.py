"""`python -m gateway login`: a link that opens Edit Studio once, without typing a key."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from shared.store.login_codes import LoginCodes
from shared.store.tenants import TIERS, Tenants

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="edit-studio login", description="Print a link that opens Edit Studio once.")
    command.add_argument("--tenant", default="default", help="whose edits the page shows (default: default)")
    command.add_argument("--tier", default="pro", choices=TIERS)
    command.add_argument("--json", action="store_true", help="print one JSON document")
    command.add_argument("--link-file", type=Path, help="write the link to this file (mode 0600) instead")
    return command


async def run_login(settings: Settings, arguments: Sequence[str], console: Console) -> int:
    """Do what the command line says; answers the exit code. Raises StoreUnavailable."""
    wanted = parser().parse_args(arguments)
    redis = open_redis(settings)
    try:
        scripts = Scripts(redis, timeout_s=settings.redis_timeout_s)
        code = await LoginCodes(scripts, Tenants(scripts, settings)).make(wanted.tenant, tier=wanted.tier)
    finally:
        await redis.aclose(close_connection_pool=True)
    # Browsers keep what comes after `#` to themselves: the code is in no request line and no log.
    link = f"{_address(settings)}/studio#login={code}"
    if wanted.link_file is None:
        console.out(json.dumps({"link": link}) if wanted.json else link, highlight=False)
    else:
        _write_private(wanted.link_file, link)
    return 0


def _address(settings: Settings) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _write_private(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(f"{text}\n")
