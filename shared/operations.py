"""The nine operations: what each takes, needs and refuses (pure). Published at `GET /api/image-studio/edit/operations`.

A picture goes by its role's name here (`image`, `mask` …), however it is given. Fields that no operation tells apart —
`model`, `size`, `output_format`, `metadata` and so on — are taken by all of them and not listed.
"""

from collections.abc import Collection
from dataclasses import dataclass

from shared.edit import Operation

#: Fields whose use depends on the operation.
SPECIFIC_FIELDS = (
    "prompt",
    "negative_prompt",
    "search_prompt",
    "select_prompt",
    "mask",
    "mask_mode",
    "background_image",
    "lighting_image",
    "reference_images",
    "expand_left",
    "expand_right",
    "expand_up",
    "expand_down",
)
EXPAND_FIELDS = ("expand_left", "expand_right", "expand_up", "expand_down")


@dataclass(frozen=True, slots=True)
class OperationRules:
    """What one operation takes. `one_of`: at least one of these has to be given; they count as optional too."""

    operation: Operation
    label: str
    description: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()

    @property
    def refused(self) -> tuple[str, ...]:
        """Fields that mean nothing here. They are refused, because dropping them would not be what the caller asked for."""
        taken = {*self.required, *self.optional, *self.one_of}
        return tuple(name for name in SPECIFIC_FIELDS if name not in taken)

    def missing(self, given: Collection[str]) -> tuple[str, ...]:
        """The required fields that `given` lacks; `one_of` is not looked at."""
        return tuple(name for name in self.required if name not in given)

    def lacks_choice(self, given: Collection[str]) -> bool:
        """Whether none of `one_of` is given although one has to be."""
        return bool(self.one_of) and not any(name in given for name in self.one_of)


_RULES = (
    OperationRules(
        Operation.GENERAL_EDIT,
        "Edit",
        "Change what the prompt says. With a mask, only what it selects may change.",
        required=("image", "prompt"),
        optional=("negative_prompt", "mask", "mask_mode", "reference_images"),
    ),
    OperationRules(
        Operation.INPAINT,
        "Inpaint",
        "Repaint what the mask selects as the prompt says; everything else stays as it is.",
        required=("image", "mask", "prompt"),
        optional=("negative_prompt", "mask_mode", "reference_images"),
    ),
    OperationRules(
        Operation.OUTPAINT,
        "Outpaint",
        "Extend the canvas by the given pixels on each side and fill it to match.",
        required=("image",),
        optional=("prompt", "negative_prompt"),
        one_of=EXPAND_FIELDS,
    ),
    OperationRules(
        Operation.REMOVE_BACKGROUND,
        "Remove background",
        "Keep the subject on transparency.",
        required=("image",),
    ),
    OperationRules(
        Operation.SEARCH_REPLACE,
        "Search and replace",
        "Find what search_prompt names and put what the prompt names in its place.",
        required=("image", "prompt", "search_prompt"),
        optional=("negative_prompt",),
    ),
    OperationRules(
        Operation.SEARCH_RECOLOR,
        "Search and recolor",
        "Find what select_prompt names and give it the colour that the prompt names.",
        required=("image", "prompt", "select_prompt"),
        optional=("negative_prompt",),
    ),
    OperationRules(
        Operation.RELIGHT,
        "Relight",
        "Put the subject before a background, given by words or by a picture, in its light or in that of another picture.",
        required=("image",),
        optional=("negative_prompt", "lighting_image"),
        one_of=("prompt", "background_image"),
    ),
    OperationRules(
        Operation.ERASE,
        "Erase",
        "Remove what the mask selects and fill the place from its surroundings.",
        required=("image", "mask"),
        optional=("mask_mode",),
    ),
    OperationRules(
        Operation.UPSCALE,
        "Upscale",
        "The same picture with more pixels.",
        required=("image",),
        optional=("prompt", "negative_prompt"),
    ),
)

OPERATIONS: dict[Operation, OperationRules] = {rules.operation: rules for rules in _RULES}
