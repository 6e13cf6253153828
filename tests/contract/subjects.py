"""What the contract suite is run on: the ways in which providers work, and what each of them does in its own way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.errors import (
    ProviderAmbiguous,
    ProviderBadOutput,
    ProviderError,
    ProviderModelGone,
    ProviderModerated,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTransient,
    ProviderUnusable,
)

ErrorClass = type[ProviderError]


@dataclass(frozen=True)
class Subject:
    """One way in which one provider works.

    `model`: by which it is tried. `is_task`: `submit` answers with a task's name, else with the result. `gives_links`: to the
    result, else its bytes. `has_history`: a lost call can be found in it. `busy_s`: the wait after a 429 that names none.
    `refusals`: what a fault at the submit becomes, beside `REFUSALS`; `endings`: what a fault of the task becomes.
    `path`: where this provider has the model, if the catalogue has it for another; `unknown_task`: a name that no task has.
    """

    provider: str
    model: str
    is_task: bool = True
    gives_links: bool = True
    has_history: bool = True
    busy_s: float | None = None
    refusals: Mapping[str, ErrorClass] = field(default_factory=dict)
    endings: Mapping[str, ErrorClass] = field(default_factory=dict)
    path: str | None = None
    unknown_task: str = "f" * 32


#: Fault of the simulator to error class, wherever a provider has no other meaning for it.
REFUSALS: Mapping[str, ErrorClass] = {
    "400": ProviderRefused,
    "401": ProviderUnusable,
    "402": ProviderUnusable,
    "403": ProviderUnusable,
    "404": ProviderModelGone,
    "413": ProviderRefused,
    "422": ProviderRefused,
    "429": ProviderRateLimited,
    "500": ProviderTransient,
    "502": ProviderTransient,
    "503": ProviderTransient,
    "504": ProviderAmbiguous,
    "lost-answer": ProviderAmbiguous,
}
_WAVESPEED_ENDINGS: Mapping[str, ErrorClass] = {
    "1200": ProviderModerated,
    "moderated": ProviderModerated,
    "nsfw": ProviderModerated,
    "1400": ProviderRefused,
    "1401": ProviderRefused,
    "1402": ProviderTransient,
    "1403": ProviderTransient,
    "1405": ProviderTransient,
    "1406": ProviderTransient,
    "1407": ProviderUnusable,
    "5000": ProviderTransient,
    "5003": ProviderTransient,
    "5004": ProviderTransient,
    "cancelled": ProviderTransient,
    "timeout": ProviderTransient,
    "deleted": ProviderTransient,
    "no-outputs": ProviderBadOutput,
}
_PREDICTION_ENDINGS: Mapping[str, ErrorClass] = {  # Their failures carry no code, only words.
    fault: error for fault, error in _WAVESPEED_ENDINGS.items() if not fault.startswith("14")
}
_QUEUE_ENDINGS: Mapping[str, ErrorClass] = {
    **_PREDICTION_ENDINGS,
    "1400": ProviderRefused,
    "1401": ProviderRefused,
    "1402": ProviderTransient,
}
_STABILITY_REFUSALS: Mapping[str, ErrorClass] = {"403": ProviderModerated, "moderated": ProviderModerated}

SUBJECTS: Mapping[str, Subject] = {
    "wavespeed": Subject("wavespeed", "qwen-edit", endings=_WAVESPEED_ENDINGS),
    "huggingface by queue": Subject(
        "huggingface",
        "qwen-image-edit",
        has_history=False,
        endings=_QUEUE_ENDINGS,
        unknown_task=f"fal-ai/fal-ai/qwen-image-edit/requests/{'f' * 32}",
    ),
    "huggingface by prediction": Subject(
        "huggingface",
        "flux-kontext-dev",
        has_history=False,
        endings=_PREDICTION_ENDINGS,
        unknown_task=f"replicate/v1/predictions/{'f' * 32}",
    ),
    "huggingface by another's tasks": Subject(
        "huggingface",
        "qwen-edit",
        has_history=False,
        endings=_WAVESPEED_ENDINGS,
        path="wavespeed/wavespeed-ai/qwen-image/edit",
        unknown_task=f"wavespeed/{'f' * 32}",
    ),
    "stability": Subject(
        "stability",
        "stability-search-recolor",
        is_task=False,
        gives_links=False,
        has_history=False,
        busy_s=60.0,
        refusals=_STABILITY_REFUSALS,
        endings={"nsfw": ProviderModerated, "html": ProviderBadOutput},
    ),
    "stability by task": Subject(
        "stability",
        "stability-relight",
        gives_links=False,
        has_history=False,
        busy_s=60.0,
        refusals=_STABILITY_REFUSALS,
        endings={
            "nsfw": ProviderModerated,
            "html": ProviderBadOutput,
            "deleted": ProviderTransient,
            "poll-400": ProviderRefused,
            "poll-403": ProviderModerated,
            "poll-422": ProviderRefused,
        },
    ),
}
BY_TASK = {name: subject for name, subject in SUBJECTS.items() if subject.is_task}
GIVING_LINKS = {name: subject for name, subject in SUBJECTS.items() if subject.gives_links}
WITH_HISTORY = {name: subject for name, subject in SUBJECTS.items() if subject.has_history}
