"""Named points at which a test makes a process die, as kill -9 would."""

import os


def die_at(point: str, armed: str) -> None:
    """End this process at once, without clean-up, if `armed` (EDIT_STUDIO_FAULT) names this point."""
    if armed == point:
        os._exit(9)
