"""What a quote is bound to: the edit that it was made for, told by a digest of each field that its price may depend on."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

from gateway.fields import pointer_to
from gateway.intake import field_of
from shared.edit import EditOptions, EditSpec, InputRef, Role, canonical_options
from shared.errors import FieldError, QuoteMismatch
from shared.store.quotes import Quote

#: Options that change nothing about who can do the edit for how much.
_BESIDE = frozenset(
    ("webhook_url", "webhook_events", "metadata", "priority", "response_format", "output_quality", "keep_metadata", "animated")
)
_SIZE = "image_resolution"
_DIGITS = 16


def wish_of(options: EditOptions, inputs: Sequence[InputRef], upright_size: tuple[int, int] | None) -> dict[str, str]:
    """Field to digest. `upright_size`: of the picture, None while it is unknown."""
    wish = {name: _digest(value) for name, value in canonical_options(options).items() if name not in _BESIDE}
    counts = Counter(field_of(ref.role) for ref in inputs if ref.role is not Role.IMAGE)
    wish |= {name: str(count) for name, count in counts.items()}
    return wish if upright_size is None else {**wish, _SIZE: f"{upright_size[0]}x{upright_size[1]}"}


def bound(spec: EditSpec, quote: Quote, upright_size: tuple[int, int] | None) -> EditSpec:
    """The edit with what was quoted for it. Where its size is not known yet, the worker compares the price.

    Raises QuoteMismatch, which names the fields that differ.
    """
    wish = wish_of(spec, spec.inputs, upright_size)
    if upright_size is None:
        wish[_SIZE] = quote.wish[_SIZE]
    differing = sorted(name for name in {*wish, *quote.wish} if wish.get(name) != quote.wish.get(name))
    if differing:
        errors = [FieldError(pointer_to(name), QuoteMismatch.code, "is not what the quote was made for") for name in differing]
        raise QuoteMismatch(f"the quote is for another edit: {', '.join(differing)} differ; ask for a new quote", errors=errors)
    return spec.model_copy(update={"models": quote.models, "quoted_usd": quote.total_micro_usd / 1e6})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]
