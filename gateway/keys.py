"""`python -m gateway keys`: make, list and revoke API keys."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.job import time_of
from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from shared.store.tenants import SCOPES, TIERS, Tenants


def parser() -> argparse.ArgumentParser:
    """The command line."""
    commands = argparse.ArgumentParser(prog="edit-studio keys", description="Make, list and revoke API keys.")
    actions = commands.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key; it is shown this once")
    create.add_argument("--tenant", default="default", help="whose edits the key sees (default: default)")
    create.add_argument("--tier", default="pro", choices=TIERS)
    create.add_argument("--scopes", default=",".join(SCOPES), help=f"comma-separated, of {', '.join(SCOPES)}")
    create.add_argument("--name", default="", help="what the key is for")
    create.add_argument(
        "--key-file", type=Path, help="keep the key in this file (mode 0600); an existing file's key is made valid"
    )
    actions.add_parser("list", help="show all keys, without their texts")
    revoke = actions.add_parser("revoke", help="make a key invalid")
    revoke.add_argument("id", help="the key's id, as list shows it")
    return commands


async def run_keys(settings: Settings, arguments: Sequence[str], console: Console) -> int:
    """Do what the command line says; answers the exit code. Raises StoreUnavailable."""
    wanted = parser().parse_args(arguments)
    redis = open_redis(settings)
    try:
        tenants = Tenants(Scripts(redis, timeout_s=settings.redis_timeout_s), settings)
        if wanted.action == "create":
            return await _create(tenants, wanted, console)
        if wanted.action == "revoke":
            if await tenants.revoke_key(wanted.id):
                console.print(f"{wanted.id} is revoked; it is refused within a second")
                return 0
            console.print(f"there is no key {wanted.id}; `edit-studio keys list` shows them")
            return 1
        table = Table("id", "tenant", "tier", "scopes", "name", "created")
        for key in await tenants.list_keys():
            created = time_of(key.created_ms).isoformat(timespec="seconds")
            table.add_row(key.id, key.tenant, key.tier, ",".join(sorted(key.scopes)), key.name, created)
        console.print(table)
        return 0
    finally:
        await redis.aclose(close_connection_pool=True)


async def _create(tenants: Tenants, wanted: argparse.Namespace, console: Console) -> int:
    scopes = frozenset(wanted.scopes.split(","))
    if unknown := scopes - set(SCOPES):
        console.print(f"unknown scope {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
        return 2
    file: Path | None = wanted.key_file
    kept = await asyncio.to_thread(_kept, file) if file is not None else None
    text, key = await tenants.create_key(wanted.tenant, tier=wanted.tier, scopes=scopes, name=wanted.name, key=kept)
    if file is None:
        console.print(f"{text}\n(id {key.id}; it cannot be shown again)", highlight=False)
    else:
        if kept is None:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(f"{text}\n")
        console.print(f"key {key.id} is in {file}", highlight=False)
    return 0


def _kept(file: Path) -> str | None:
    """The key that the file holds, if there is one."""
    return file.read_text().strip() if file.exists() else None
