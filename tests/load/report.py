"""What a scenario found out, and whether it keeps what is promised."""

import os
import sys
import time
from collections.abc import Sequence

_WIDTHS = (52, 30)


class Report:
    """The table of one run, printed line by line as it is known."""

    def __init__(self, title: str) -> None:
        self._broken: list[str] = []
        self._started = time.monotonic()
        load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
        self._say(f"{title}\n{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {os.cpu_count()} cores, load {load}\n")

    def tell(self, what: str, found: object) -> None:
        """A figure that nothing is promised of."""
        self._row(what, found, "")

    def promise(self, what: str, found: object, promised: str, *, is_kept: bool) -> None:
        """A figure, and what it has to be."""
        self._row(what, found, f"{promised}: {'kept' if is_kept else 'NOT KEPT'}")
        if not is_kept:
            self._broken.append(what)

    def nothing_wrong(self, what: str, wrong: Sequence[object], *, of: int) -> None:
        """A promise that was looked at `of` times. `wrong`: where it does not hold; the first ones are shown."""
        self.promise(what, f"{len(wrong)} wrong of {of:,}", "none", is_kept=not wrong)
        for one in wrong[:5]:
            self._say(f"    {str(one)[:600]}")

    def finish(self) -> int:
        """The exit code."""
        took = f"{time.monotonic() - self._started:.0f} s"
        self._say(f"\n{took}; " + (f"NOT KEPT: {'; '.join(self._broken)}" if self._broken else "all promises kept"))
        return 1 if self._broken else 0

    def _row(self, what: str, found: object, rest: str) -> None:
        text = f"{found:,.2f}" if isinstance(found, float) else f"{found:,}" if isinstance(found, int) else str(found)
        self._say(f"{what:<{_WIDTHS[0]}} {text:>{_WIDTHS[1]}}  {rest}".rstrip())

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
