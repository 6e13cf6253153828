"""A whole stack on one machine: which processes, in which order, with which settings."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from deploy.standalone import services
from deploy.standalone.data_dir import DataDir
from deploy.standalone.display import Display
from deploy.standalone.leftover import end_leftover
from deploy.standalone.ports import claim_port
from deploy.standalone.supervisor import StartFailed, Supervisor

# What a command needs to work on the running stack.
_FOR_COMMANDS_BESIDE = {
    "EDIT_STUDIO_SECRET",
    "EDIT_STUDIO_HOST",
    "EDIT_STUDIO_PORT",
    "EDIT_STUDIO_REDIS_URL",
    "EDIT_STUDIO_S3_ENDPOINT_URL",
    "EDIT_STUDIO_S3_ACCESS_KEY",
    "EDIT_STUDIO_S3_SECRET_KEY",
    "EDIT_STUDIO_PUBLIC_URL",
}
_SIMULATOR_ANSWER_S = 5.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
# Shorter than the supervisor's patience with a worker, so that edits are given back rather than cut off.
_DRAIN_S = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run. `variables`: the environment of our processes; what is decided here is added to it."""

    data_dir: Path
    host: str
    port: int  #: 0 takes a free one
    workers: int
    simulate: bool
    own_redis: bool
    own_s3: bool
    secret: str | None  #: None: the data folder's own
    variables: Mapping[str, str]
    catalog_dir: Path | None = None  #: the operator's; its folder `simulator` has what the simulator knows of its models


class Stack:
    """The running processes. `start` once, then `stop`, also after a failed start."""

    def __init__(self, plan: Plan, display: Display) -> None:
        """Raises DataDirUnusable."""
        self._plan = plan
        self._display = display
        self._supervisor = Supervisor(display)
        self.data = DataDir(plan.data_dir)
        self.address = ""

    async def start(self) -> None:
        """All processes, in order, each when the ones before it are ready.

        Raises StartFailed, ServerMissing, PortUnusable, DataDirUnusable.
        """
        plan, data, supervisor = self._plan, self.data, self._supervisor
        await asyncio.to_thread(self._end_leftovers)
        port = await asyncio.to_thread(claim_port, plan.host, plan.port)
        host = _ANY_ADDRESS.get(plan.host, plan.host)
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        variables = {
            "EDIT_STUDIO_DRAIN_S": str(_DRAIN_S),
            "EDIT_STUDIO_POOL_PROCESSES": str(max(1, (os.cpu_count() or 1) // max(1, plan.workers))),
            **plan.variables,
            "EDIT_STUDIO_SECRET": plan.secret or data.secret(),
            "EDIT_STUDIO_HOST": plan.host,
            "EDIT_STUDIO_PORT": str(port),
            "EDIT_STUDIO_PARENT_PID": str(os.getpid()),
            "PYTHONUNBUFFERED": "1",
        }
        await supervisor.open()
        if plan.own_redis:
            redis, variables["EDIT_STUDIO_REDIS_URL"] = services.redis_server(data)
            await supervisor.start(redis)
        if plan.own_s3:
            s3, addresses = services.s3_server(data)
            variables |= addresses
            await supervisor.start(s3)
        if plan.simulate:
            models_dir = None if plan.catalog_dir is None else plan.catalog_dir / "simulator"
            simulator, simulator_address = services.simulator(data, models_dir)
            await supervisor.start(simulator)
            variables |= {"EDIT_STUDIO_SIMULATED": "1", **await _providers_variables(simulator_address)}
        await self._make_api_key(variables)
        await self._make_login_link(variables)
        await supervisor.start(services.gateway(data, variables, self.address))
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, plan.workers + 1):
                    group.create_task(supervisor.start(services.worker(data, variables, number)))
        except* StartFailed as failures:
            raise StartFailed(str(failures.exceptions[0])) from failures
        beside = {"EDIT_STUDIO_PUBLIC_URL": self.address, **variables}
        data.publish_settings({name: value for name, value in beside.items() if name in _FOR_COMMANDS_BESIDE})

    async def stop(self) -> None:
        """End every process, within 20 s, and unlock the data folder."""
        await self._supervisor.stop()
        self.data.close()

    def _end_leftovers(self) -> None:
        for pid_file in sorted(self.data.run.glob("*.pid")):
            if end_leftover(pid_file, mark=str(self.data.root)):
                self._display.warn(f"ended the {pid_file.stem} that an earlier run left behind")

    async def _make_api_key(self, variables: Mapping[str, str]) -> None:
        command = services.python_module("gateway", "keys", "create", "--tenant", "default", "--tier", "pro")
        scopes = ("--scopes", "read,submit,admin", "--key-file", str(self.data.api_key))
        await self._supervisor.run("making the API key", (*command, *scopes), variables)

    async def _make_login_link(self, variables: Mapping[str, str]) -> None:
        command = services.python_module("gateway", "login", "--link-file", str(self.data.login_link))
        await self._supervisor.run("making the login link", command, variables)


async def _providers_variables(simulator_address: str) -> dict[str, str]:
    """The simulator says itself which variables lead providers to it. Raises StartFailed."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SIMULATOR_ANSWER_S)) as session,
            session.get(f"{simulator_address}/sim/env", raise_for_status=True) as answer,
        ):
            variables: dict[str, str] = await answer.json()
            return variables
    except (aiohttp.ClientError, TimeoutError) as error:
        raise StartFailed(f"the simulator does not say how it is reached: {error}") from error
