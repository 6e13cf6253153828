"""A process for tests of the supervisor: `toy_service.py FOLDER NAME [stubborn] [parent=PID]` notes what happens to it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from shared.parent import watch_parent


def main() -> None:
    folder, name, *wishes = sys.argv[1:]
    journal = Path(folder) / "journal"

    def note(what: str) -> None:
        with journal.open("a") as file:
            file.write(f"{what} {name} {os.getpid()}\n")

    def stop(number: int, frame: object) -> None:
        note("stopped")
        if "stubborn" not in wishes:
            sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    for wish in wishes:
        if wish.startswith("parent="):
            watch_parent(int(wish.removeprefix("parent=")))
    if "with-child" in wishes:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        note(f"child-{child.pid}")
    if "broken" in wishes:
        print("a reason on stderr", file=sys.stderr)
        sys.exit(3)
    note("started")
    if "mute" not in wishes:
        print("toy ready", flush=True)
    while True:
        time.sleep(0.05)


if __name__ == "__main__":
    main()
