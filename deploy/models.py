"""`edit-studio models` and `edit-studio recommend`: what there is, and which of it suits an edit."""

import argparse
import asyncio
from pathlib import Path
from typing import Any, get_args

from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from deploy.arguments import add_output_options, amount, size
from deploy.calling import print_json, say, usd
from deploy.exit_codes import Exit
from deploy.service_access import add_access_options
from gateway.client.api_error import PictureUnusable
from gateway.client.async_client import AsyncClient
from gateway.client.reference_answers import ModelDetail, ModelView
from gateway.client.wishes import ModelFilters, Operation, RecommendWishes

_OPERATIONS = get_args(Operation)


def add_models(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`models` and its options."""
    command = commands.add_parser("models", help="list models, or show one", allow_abbrev=False)
    command.add_argument("model", nargs="?", metavar="MODEL", help="show this one with its parameters and prices")
    command.add_argument("--operation", choices=_OPERATIONS, metavar="OPERATION", help=f"of {', '.join(_OPERATIONS)}")
    command.add_argument("--tier", choices=("budget", "mid", "premium"))
    command.add_argument("--provider")
    command.add_argument("--max-cost", type=amount, metavar="USD", help="with default parameters")
    command.add_argument("--available", action="store_true", help="only those whose provider is configured")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=models)


def add_recommend(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`recommend` and its options."""
    command = commands.add_parser("recommend", help="which model an edit would get, and why", allow_abbrev=False)
    command.add_argument("prompt", nargs="?", metavar="PROMPT", help="what is to be done")
    command.add_argument("--operation", choices=_OPERATIONS, default="general_edit", metavar="OPERATION")
    command.add_argument("--mask", action="store_true", help="with a mask")
    of = command.add_mutually_exclusive_group()
    of.add_argument("--image", type=Path, metavar="FILE", help="for a picture of this size; it is not sent")
    of.add_argument("--size", type=size, metavar="WxH", help="for a picture of this size, pixels")
    first = command.add_mutually_exclusive_group()
    for aim in ("cost", "quality", "speed"):
        first.add_argument(f"--{aim}", dest="aim", action="store_const", const=aim, help=f"{aim} matters most")
    command.add_argument("--max-cost", type=amount, metavar="USD")
    add_output_options(command)
    add_access_options(command)
    command.set_defaults(verb=recommend)


async def models(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """A table, or one model whole. Raises ApiError."""
    if options.model is not None:
        detail = await client.model(options.model)
        print_json(detail, console) if options.json else _show(detail, console)
        return Exit.DONE
    filters: ModelFilters = {"operation": options.operation, "tier": options.tier, "provider": options.provider}
    filters |= {"max_cost": options.max_cost, "available": options.available or None}
    found = await client.models(**filters)
    if options.json:
        print_json(found, console)
        return Exit.DONE
    table = Table(Column("model", no_wrap=True), "operations", "from", "quality", "largest", "p50", "provider", "", box=None)
    for model in found["models"]:
        table.add_row(*_cells(model))
    console.print(table)
    say(f"{found['total']} models", console)
    return Exit.DONE


async def recommend(options: argparse.Namespace, client: AsyncClient, console: Console) -> Exit:
    """The model, its price, why, and what else there is. Raises ApiError, PictureUnusable."""
    shape = await asyncio.to_thread(_size_of, options.image) if options.image is not None else options.size
    wishes: RecommendWishes = {"operation": options.operation, "has_mask": options.mask, "prompt": options.prompt}
    if shape is not None:
        wishes["image_resolution"] = {"width": shape[0], "height": shape[1]}
    wanted: Any = {f"prioritize_{options.aim}": True} if options.aim else {}
    wishes["preferences"] = wanted | ({} if options.max_cost is None else {"max_cost": options.max_cost})
    found = await client.recommend(**wishes)
    if options.json:
        print_json(found, console)
        return Exit.DONE
    time = found["estimated_seconds"]
    parts = [found["recommended_model"], usd(found["estimated_cost"]), *([f"about {time['p50']:.0f} s"] if time else [])]
    say(f"{' · '.join(parts)}\n{found['reason']}", console)
    table = Table("or", "", "", box=None)
    for other in found["alternatives"]:
        table.add_row(other["model_id"], usd(other["cost"]), escape(other["reason"]))
    if found["alternatives"]:
        console.print(table)
    return Exit.DONE


def _cells(model: ModelView) -> tuple[str, ...]:
    seen = model["performance"] and model["performance"]["p50_s"]
    return (
        model["id"],
        ", ".join(model["operations"]),
        usd(model["cost_from"]),
        model["quality"],
        "×".join(map(str, model["max_resolution"])),
        "" if seen is None else f"{seen:.1f} s",
        model["provider"],
        "" if model["available"] else "not configured",
    )


def _show(model: ModelDetail, console: Console) -> None:
    table = Table("", "", box=None, show_header=False)
    prices = [f"{usd(tier['usd'])}{_when(tier['when'])} a {model['price_unit']}" for tier in model["pricing"]]
    takes = [f"{name} ({schema['type']})" for name, schema in model["parameters"]["properties"].items()]
    rows = {
        "model": f"{model['id']}: {model['description']}",
        "operations": ", ".join(model["operations"]),
        "price": "\n".join(prices),
        "largest": "×".join(map(str, model["max_resolution"])),
        "inputs": str(model["max_images"]),
        "mask": model["supports_mask"],
        "parameters": ", ".join(takes),
        "health": model["health"]["state"] if model["available"] else "its provider is not configured",
        "prompts": "\n".join(model["example_prompts"][:5]),
        "more": model["docs_url"] or "",
    }
    for name, text in rows.items():
        table.add_row(name, escape(text))
    console.print(table)


def _when(conditions: dict[str, str]) -> str:
    return f" with {', '.join(f'{name} {value}' for name, value in conditions.items())}" if conditions else ""


def _size_of(file: Path) -> tuple[int, int]:
    """Upright, pixels."""
    try:
        with Image.open(file) as picture:
            return ImageOps.exif_transpose(picture).size
    except (OSError, UnidentifiedImageError) as error:
        raise PictureUnusable(f"--image: {file} cannot be read as a picture; --size WxH does without") from error
