"""`python -m gateway keys` and `python -m gateway tenants`: who may call, and how much."""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from shared.job import time_of
from shared.settings import Settings
from shared.store.connection import Scripts, open_redis
from shared.store.tenants import SCOPES, TENANT_PATTERN, TIERS, ApiKey, TenantLimits, Tenants

_MONEY = ("daily_limit", "monthly_limit")
#: As `deploy.exit_codes` has it.
_NOT_FOUND = 7
_COUNTS = ("queue_quota", "batch_quota", "running_cap")


def keys_parser() -> argparse.ArgumentParser:
    """The command line of `keys`."""
    commands = argparse.ArgumentParser(prog="edit-studio keys", description="Make, list and revoke API keys.")
    actions = commands.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key; it is shown this once")
    create.add_argument("--tenant", type=_tenant, default="default", help="whose edits the key sees (default: default)")
    create.add_argument("--tier", default="pro", choices=TIERS)
    create.add_argument("--scopes", default=",".join(SCOPES), help=f"comma-separated, of {', '.join(SCOPES)}")
    create.add_argument("--name", default="", help="what the key is for")
    create.add_argument("--submits-per-minute", type=_above_zero, help="instead of the service's own limit")
    create.add_argument("--reads-per-minute", type=_above_zero, help="instead of the service's own limit")
    create.add_argument(
        "--key-file", type=Path, help="keep the key in this file (mode 0600); an existing file's key is made valid"
    )
    shown = actions.add_parser("list", help="show keys, without their texts")
    shown.add_argument("--tenant", type=_tenant, help="only this tenant's")
    revoke = actions.add_parser("revoke", help="make a key invalid")
    revoke.add_argument("id", help="the key's id, as list shows it")
    _take_json(create, shown, revoke)
    return commands


def tenants_parser() -> argparse.ArgumentParser:
    """The command line of `tenants`."""
    commands = argparse.ArgumentParser(prog="edit-studio tenants", description="List tenants and set their limits.")
    actions = commands.add_subparsers(dest="action", required=True)
    shown = actions.add_parser("list", help="show all tenants and what is set for them")
    change = actions.add_parser("set", help="set some limits of a tenant; `none` takes one away")
    change.add_argument("tenant", type=_tenant)
    change.add_argument("--daily-limit", type=_money, metavar="USD", help="what may be spent a day (UTC)")
    change.add_argument("--monthly-limit", type=_money, metavar="USD", help="what may be spent a month (UTC)")
    change.add_argument("--queue-quota", type=_count, metavar="N", help="unfinished edits")
    change.add_argument("--batch-quota", type=_count, metavar="N", help="unfinished items of batches")
    change.add_argument("--running-cap", type=_count, metavar="N", help="edits at once; 0 holds them all")
    change.add_argument("--weight", type=_weight, metavar="W", help="turns for one turn of another tenant (1)")
    _take_json(shown, change)
    return commands


async def run_keys(settings: Settings, arguments: Sequence[str], console: Console) -> int:
    """Do what the command line says; answers the exit code. Raises StoreUnavailable."""
    wanted = keys_parser().parse_args(arguments)
    async with _open(settings) as tenants:
        if wanted.action == "create":
            return await _create(tenants, wanted, console)
        if wanted.action == "revoke":
            if not await tenants.revoke_key(wanted.id):
                sys.stderr.write(f"edit-studio: there is no key {wanted.id}; `edit-studio keys list` shows them\n")
                return _NOT_FOUND
            if wanted.json:
                _print_json({"id": wanted.id, "revoked": True}, console)
            else:
                console.print(f"{wanted.id} is revoked; it is refused within a second")
            return 0
        keys = [key async for key in _all_keys(tenants, wanted.tenant)]
        if wanted.json:
            _print_json({"keys": [{**asdict(key), "scopes": sorted(key.scopes)} for key in keys]}, console)
            return 0
        table = Table(Column("id", no_wrap=True), "tenant", "tier", "scopes", "name", "a minute", "created", "ends")
        for key in keys:
            created = time_of(key.created_ms).isoformat(timespec="seconds")
            ends = "·" if key.ends_ms is None else time_of(key.ends_ms).isoformat(timespec="seconds")
            rates = f"{key.submits_per_minute or '·'} / {key.reads_per_minute or '·'}"
            table.add_row(key.id, key.tenant, key.tier, ",".join(sorted(key.scopes)), key.name, rates, created, ends)
        console.print(table)
        return 0


async def run_tenants(settings: Settings, arguments: Sequence[str], console: Console) -> int:
    """Do what the command line says; answers the exit code. Raises StoreUnavailable."""
    wanted = tenants_parser().parse_args(arguments)
    async with _open(settings) as tenants:
        found: dict[str, TenantLimits] = {}
        if wanted.action == "set":
            named = (*_MONEY, *_COUNTS, "weight")
            given = {name: value for name, value in vars(wanted).items() if name in named and value is not None}
            if not given:
                console.print("say what to set: `edit-studio tenants set --help` shows what there is")
                return 2
            changes = {f"{name}_micro_usd" if name in _MONEY else name: _chosen(name, text) for name, text in given.items()}
            await tenants.set_limits(wanted.tenant, changes)
            found[wanted.tenant] = await tenants.limits(wanted.tenant)
        else:
            after = ""
            while names := await tenants.names(after=after):
                found |= {name: await tenants.limits(name) for name in names}
                after = names[-1]
    if wanted.json:
        _print_json({"tenants": [{"tenant": name, **asdict(limits)} for name, limits in found.items()]}, console)
        return 0
    table = Table("tenant", "daily USD", "monthly USD", "queue", "batches", "running", "weight")
    for name, limits in found.items():
        table.add_row(name, *_cells(limits))
    console.print(table)
    return 0


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Tenants]:
    redis = open_redis(settings)
    try:
        yield Tenants(Scripts(redis, timeout_s=settings.redis_timeout_s), settings)
    finally:
        await redis.aclose(close_connection_pool=True)


async def _all_keys(tenants: Tenants, tenant: str | None) -> AsyncIterator[ApiKey]:
    after: str | None = ""
    while after is not None:
        keys, after = await tenants.list_keys(tenant=tenant, after=after)
        for key in keys:
            yield key


async def _create(tenants: Tenants, wanted: argparse.Namespace, console: Console) -> int:
    scopes = frozenset(wanted.scopes.split(","))
    if unknown := scopes - set(SCOPES):
        console.print(f"unknown scope {', '.join(sorted(unknown))}; there are {', '.join(SCOPES)}")
        return 2
    file: Path | None = wanted.key_file
    kept = await asyncio.to_thread(_kept, file) if file is not None else None
    text, key = await tenants.create_key(
        wanted.tenant,
        tier=wanted.tier,
        scopes=scopes,
        name=wanted.name,
        submits_per_minute=wanted.submits_per_minute,
        reads_per_minute=wanted.reads_per_minute,
        key=kept,
    )
    if file is not None and kept is None:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(f"{text}\n")
    if wanted.json:
        _print_json({"id": key.id, **({"key": text} if file is None else {"key_file": str(file)})}, console)
    elif file is None:
        console.print(f"{text}\n(id {key.id}; it cannot be shown again)", highlight=False)
    else:
        console.print(f"key {key.id} is in {file}", highlight=False)
    return 0


def _take_json(*actions: argparse.ArgumentParser) -> None:
    for action in actions:
        action.add_argument("--json", action="store_true", help="print one JSON document")


def _print_json(document: object, console: Console) -> None:
    console.out(json.dumps(document), highlight=False)


def _kept(file: Path) -> str | None:
    """The key that the file holds, if there is one."""
    return file.read_text().strip() if file.exists() else None


def _cells(limits: TenantLimits) -> list[str]:
    """What is set, in the table's order; a dot for what is not."""
    fields = asdict(limits)
    money = [fields[f"{name}_micro_usd"] for name in _MONEY]
    usd = ["·" if amount is None else f"{amount / 1e6:.6f}".rstrip("0").rstrip(".") for amount in money]
    return [*usd, *("·" if fields[name] is None else f"{fields[name]:g}" for name in (*_COUNTS, "weight"))]


def _chosen(name: str, text: str) -> float | None:
    if text == "none":
        return None
    return round(float(text) * 1e6) if name in _MONEY else float(text) if name == "weight" else int(text)


def _tenant(text: str) -> str:
    if not re.fullmatch(TENANT_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} has to be 1 to 64 letters, digits, dots, underscores and hyphens")
    return text


def _money(text: str) -> str:
    if text != "none" and not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount in USD, nor `none`")
    return text


def _count(text: str) -> str:
    if text != "none" and not re.fullmatch(r"\d{1,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, nor `none`")
    return text


def _weight(text: str) -> str:
    if text != "none" and not (re.fullmatch(r"\d{1,4}(\.\d{1,2})?", text) and 0.01 <= float(text) <= 1_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.01 to 1000, nor `none`")
    return text


def _above_zero(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,7}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
