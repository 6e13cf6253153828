"""Every model with every operation that it does, as one edit each: what is asked for, and what has to come back.

An edit asks for all that the model can be asked for: seed, guidance, steps, a negative prompt, a style, its own options, a second
picture. The picture's sides are no multiple of anything and its aspect is on no list, so that most models get another size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.candidates import EXACT
from shared.catalog.load import Catalog
from shared.catalog.model import Model
from shared.edit import Operation
from shared.operations import EXPAND_FIELDS, OPERATIONS

SIZE = (500, 333)
SPOT = (320, 180, 400, 240)  #: what masks select: left, top, right, bottom
SIDES = {"expand_left": 41, "expand_right": 0, "expand_up": 24, "expand_down": 7}
_OF_TWO_SIDES = {"bria-expand": {"expand_left": 41, "expand_right": 20}}  #: it makes a picture wider or higher, not both
_FACTOR = 3

_PROMPTS = {
    Operation.GENERAL_EDIT: "make the cup blue",
    Operation.INPAINT: "a blue cup",
    Operation.OUTPAINT: "a wooden table",
    Operation.SEARCH_REPLACE: "a glass of milk",
    Operation.SEARCH_RECOLOR: "a blue cup",
    Operation.RELIGHT: "a beach at noon",
    Operation.UPSCALE: "a cup of coffee",
}
_OF_THE_OPERATION: Mapping[Operation, Mapping[str, Any]] = {
    Operation.SEARCH_REPLACE: {"search_prompt": "the cup"},
    Operation.SEARCH_RECOLOR: {"select_prompt": "the spoon"},
}
_OPTIONS_OF_THE_OPERATION: Mapping[Operation, Mapping[str, int]] = {Operation.UPSCALE: {"factor": _FACTOR}}
_TURNED = {"negative_prompt": "blurry", "guidance_scale": 1.0, "steps": 20, "seed": 7}
_STYLES = {"ideogram-character": "Realistic"}
_OWN_OPTIONS: Mapping[str, Mapping[str, str | float]] = {
    "ideogram-character": {"rendering_speed": "Turbo"},
    "gpt-image-1": {"quality": "low"},
    "stability-inpaint": {"grow_mask": 3},
    "stability-outpaint": {"creativity": 0.25},
    "stability-search-replace": {"grow_mask": 4},
    "stability-search-recolor": {"grow_mask": 4},
    "stability-relight": {"light_source_direction": "left", "light_source_strength": 0.5, "preserve_original_subject": 0.75},
    "stability-erase": {"grow_mask": 2},
    "stability-upscale-conservative": {"creativity": 0.25},
}


@dataclass(frozen=True)
class Pair:
    """One model and one of its operations."""

    model: Model
    operation: Operation

    @property
    def name(self) -> str:
        """For tables and files."""
        return f"{self.model.id} {self.operation}"

    @property
    def prompt(self) -> str | None:
        """What is asked for in words; None where the model or the operation takes none."""
        if EXACT in self.model.capabilities:
            return "make it black and white"
        is_taken = "prompt" in self._fields and _takes(self.operation, "prompt")
        return _PROMPTS[self.operation] if is_taken else None

    @property
    def wishes(self) -> dict[str, Any]:
        """The edit's options beside its pictures."""
        own: dict[str, Any] = {name: value for name, value in _TURNED.items() if name in self._fields}
        if not _takes(self.operation, "negative_prompt"):
            own.pop("negative_prompt", None)
        if "style_preset" in self._fields:
            own["style_preset"] = _STYLES.get(self.model.id, "anime")
        return {
            "model": self.model.id,
            "operation": self.operation,
            "prompt": self.prompt,
            "options": {**_OWN_OPTIONS.get(self.model.id, {}), **_OPTIONS_OF_THE_OPERATION.get(self.operation, {})},
            **own,
            **_OF_THE_OPERATION.get(self.operation, {}),
            **self._sides,
        }

    @property
    def takes_mask(self) -> bool:
        """Whether a mask goes along: where the operation cannot do without."""
        return "mask" in OPERATIONS[self.operation].required

    @property
    def takes_reference(self) -> bool:
        """Whether a second picture goes along."""
        return self.model.max_images > 1

    @property
    def delivered(self) -> tuple[int, int]:
        """The size that has to come back."""
        times = _FACTOR if self.operation is Operation.UPSCALE else 1
        left, right, up, down = (self._sides.get(side, 0) for side in EXPAND_FIELDS)
        return SIZE[0] * times + left + right, SIZE[1] * times + up + down

    @property
    def _sides(self) -> Mapping[str, int]:
        return _OF_TWO_SIDES.get(self.model.id, SIDES) if self.operation is Operation.OUTPAINT else {}

    @property
    def _fields(self) -> set[str | None]:
        return {parameter.field for parameter in self.model.parameters.values()}


def all_pairs(catalog: Catalog) -> list[Pair]:
    """Those of the whole catalogue, in its order."""
    return [Pair(model, operation) for model in catalog.models.values() for operation in model.operations]


def _takes(operation: Operation, field: str) -> bool:
    return field not in OPERATIONS[operation].refused
