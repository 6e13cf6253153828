"""`python -m worker`: one worker process."""

import asyncio
import sys

import uvloop

from shared.catalog.load import CatalogInvalid
from shared.errors import EditStudioError
from shared.log import start_logging
from shared.parent import watch_parent
from shared.settings import SettingsInvalid, load_settings
from shared.store.durability import VolatileRedis
from shared.telemetry import start_tracing, stop_tracing
from worker.app import open_worker


async def _run() -> None:
    settings = load_settings()
    start_logging(settings.log_level)
    start_tracing(settings, process="worker")
    watch_parent(settings.parent_pid)
    async with open_worker(settings) as worker:
        sys.stdout.write("worker ready\n")
        sys.stdout.flush()
        try:
            await worker.async_run()
        except asyncio.CancelledError:
            # arq cancels its main task at the end of a drain.
            if not worker.is_stopped:
                raise
        await worker.close()


def main() -> int:
    """Run until SIGTERM; 1 when it could not start, with one line that says why."""
    try:
        uvloop.run(_run())
    except (SettingsInvalid, VolatileRedis, CatalogInvalid, EditStudioError) as error:
        sys.stderr.write(f"worker: {error}\n")
        return 1
    finally:
        stop_tracing()
    return 0


if __name__ == "__main__":
    sys.exit(main())
