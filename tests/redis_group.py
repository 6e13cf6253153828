"""Redis as it is run to outlive a machine: a master, its replicas, and Sentinels that make one of these the master."""

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.servers import RedisServer, ServerFailed, redis_binary

SERVICE = "edits"
DOWN_AFTER_MS = 1_000
_SENTINELS = 3
_READY_S = 15.0
_POLL_S = 0.02


class SentinelServer(RedisServer):
    """One Sentinel. It writes what it learns into its own configuration file."""

    def __init__(self, directory: Path, *, master_port: int) -> None:
        super().__init__(directory)
        self._lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} {_SENTINELS // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {SERVICE} 10000",
        )

    def _command(self) -> list[str]:
        config = self.directory / "sentinel.conf"
        config.write_text("\n".join(self._lines) + "\n")
        return [redis_binary(), str(config), "--sentinel"]


class RedisGroup:
    """Use in `with`: it is up when every Sentinel knows the replicas and the other Sentinels. As a server: `url`, `settings`."""

    def __init__(self, directory: Path, *, replicas: int = 2, options: dict[str, str] | None = None) -> None:
        self.first = RedisServer(directory / "redis-0", aof=True, options=options)
        self.replicas = [RedisServer(directory / f"redis-{n + 1}", aof=True, options=options) for n in range(replicas)]
        self.sentinels = [SentinelServer(directory / f"sentinel-{n}", master_port=self.first.port) for n in range(_SENTINELS)]
        self._exit = ExitStack()

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    @property
    def settings(self) -> dict[str, Any]:
        """The fields of `Settings` that lead here."""
        return {"redis_url": self.url}

    @property
    def port(self) -> int:
        """Of the server that the Sentinels call the master now."""
        return int(self._state()["port"])

    @property
    def master(self) -> RedisServer:
        """That server."""
        port = self.port
        return next(server for server in (self.first, *self.replicas) if server.port == port)

    def replicated(self) -> None:
        """Wait until the replicas have everything that was written so far. Raises ServerFailed."""
        with self.master.client() as client:
            # WAIT speaks of this connection's last write only: it has to have made one.
            client.set("replicated", "1")
            if client.wait(len(self.replicas), int(_READY_S * 1000)) < len(self.replicas):
                raise ServerFailed("the replicas did not follow")
            client.delete("replicated")

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.first)
            for server in self.replicas:
                undo.enter_context(server)
                with server.client() as client:
                    client.replicaof("127.0.0.1", self.first.port)
            deadline = time.monotonic() + _READY_S
            # A Sentinel asks its master for its replicas when it meets it, and then every ten seconds only.
            while not self._followed() and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            for server in self.sentinels:
                undo.enter_context(server)
            while not all(map(self._knows_all, self.sentinels)):
                if time.monotonic() > deadline:
                    raise ServerFailed(f"the Sentinels did not meet: {self._state()}")
                time.sleep(_POLL_S)
            self._exit = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exit.close()

    def _followed(self) -> bool:
        with self.first.client() as client:
            found: dict[str, Any] = client.info("replication")
        return [found.get(f"slave{n}", {}).get("state") for n in range(len(self.replicas))] == ["online"] * len(self.replicas)

    def _knows_all(self, sentinel: RedisServer) -> bool:
        state = self._state(sentinel)
        return (state["num-slaves"], state["num-other-sentinels"]) == (len(self.replicas), _SENTINELS - 1)

    def _state(self, sentinel: RedisServer | None = None) -> dict[str, Any]:
        with (sentinel or self.sentinels[0]).client() as client:
            found: dict[str, Any] = client.sentinel_master(SERVICE)
        return found


def roles(group: RedisGroup) -> dict[int, str]:
    """Port to `master`, `slave` or, for one that does not answer, `gone`."""
    found = {}
    for server in (group.first, *group.replicas):
        try:
            with server.client() as client:
                found[server.port] = str(client.info("replication")["role"])
        except redis.RedisError:
            found[server.port] = "gone"
    return found
