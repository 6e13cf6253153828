"""One gateway process: listens, serves, and leaves in order."""

import asyncio
import contextlib
import gc
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from aiohttp import hdrs, web

from gateway.app import create_app
from gateway.problems import problem_response
from gateway.routes import health
from shared.catalog.load import CatalogInvalid
from shared.errors import EditStudioError, RequestError
from shared.log import start_logging
from shared.parent import watch_parent
from shared.settings import Settings
from shared.store.durability import VolatileRedis
from shared.telemetry import start_tracing, stop_tracing

#: Storage calls, hashes and decoding; boto3's connection pool has 32 places.
_THREADS = 40
_KEEPALIVE_S = 75.0
_LINGER_S = 5.0
#: How long requests may go on after a stop was asked for.
_STOP_S = 10.0
_BACKLOG = 1_024
_COLLECT_AFTER = 20_000  #: objects made and not freed


class _Connection(web.RequestHandler):
    """A client's connection. One that stops sending half-way, but still listens, is told so instead of being cut off."""

    __slots__ = ("_newest_body",)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            self._newest_body = self._messages[-1][1]

    def eof_received(self) -> bool | None:  # type: ignore[override]
        body = getattr(self, "_newest_body", None)
        if body is None or body.is_eof():
            return None
        # Whoever reads the body reports it as incomplete; where nobody does, aiohttp takes this for the end of its patience.
        body.set_exception(TimeoutError())
        return True

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is not even HTTP never reaches the application; it is answered alike."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        response = problem_response(RequestError("this is not a well-formed HTTP request"), path="", request_id="")
        response.headers[hdrs.CACHE_CONTROL] = "private, no-store"
        response.force_close()
        return response


class Listener:
    """An application that listens on a port. Raises OSError when it cannot."""

    def __init__(self, app: web.Application, *, host: str, port: int) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEPALIVE_S,
            lingering_time=_LINGER_S,
            shutdown_timeout=_STOP_S,
        )
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Begin to listen; answers the base URL."""
        await self._runner.setup()
        loop, manager = asyncio.get_running_loop(), self._runner.server
        if manager is None:
            raise RuntimeError("the application did not start")

        def connection() -> _Connection:
            return _Connection(
                manager,
                loop=loop,
                auto_decompress=False,
                keepalive_timeout=_KEEPALIVE_S,
                lingering_time=_LINGER_S,
            )

        self._server = await loop.create_server(connection, self._host, self._port, backlog=_BACKLOG)
        port = self._server.sockets[0].getsockname()[1]
        name = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{name}:{port}"

    async def stop(self) -> None:
        """Take no more connections, let requests end (held ones answer at once), close everything."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port cannot be had, StorageUnavailable, CatalogInvalid."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = create_app(settings)
    listener = Listener(app, host=settings.host, port=settings.port)
    try:
        address = await listener.start()
        _spare_the_collector()
        sys.stdout.write(f"gateway {address}\n")
        sys.stdout.flush()
        await stop.wait()
        health.leave(app)
        await asyncio.sleep(settings.leave_s)
    finally:
        await listener.stop()


def _spare_the_collector() -> None:
    """What is loaded by now stays for good: looking through it again and again for cycles took a fifth of the processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def run_gateway(settings: Settings) -> int:
    """The process; answers its exit code."""
    start_logging(settings.log_level)
    start_tracing(settings, process="gateway")
    watch_parent(settings.parent_pid)
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(settings))
    except (EditStudioError, CatalogInvalid, VolatileRedis, OSError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    finally:
        stop_tracing()
    return 0
