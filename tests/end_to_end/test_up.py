"""`edit-studio up` as a user runs it: real processes on free ports, killed and stopped in every way."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from gateway.client.answers import Job
from gateway.client.api_error import ApiError
from gateway.client.async_client import AsyncClient
from tests.servers import RedisServer, S3Server

_COFFEE = Path(__file__).parents[1] / "data" / "coffee.png"
_START_S = 60.0
_STOP_S = 20.0
_DEADLINE_S = 30.0
_MARK = "TEST_STACK"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


class Up:
    """One `edit-studio up` on `data_dir`."""

    def __init__(self, data_dir: Path, *options: str, output: str = "up.out", **variables: str) -> None:
        self.data_dir = data_dir
        self.output = data_dir.with_name(output)
        # The mark is how its processes are found, also those that lost their parent.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDIT_STUDIO_")}
        temporary = data_dir.with_name("tmp")
        temporary.mkdir(exist_ok=True)
        command = (sys.executable, "-P", "-m", "deploy.cli", "up", "--port", "0", "--data-dir", str(data_dir), *options)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env={**environment, "TMPDIR": str(temporary), _MARK: str(data_dir), **variables},
                stdout=output,
                stderr=output,
            )

    def said(self) -> str:
        return self.output.read_text()

    async def ready(self) -> str:
        """Wait until it runs; its address."""
        await until(lambda: "  address  " in self.said() or self.process.poll() is not None, _START_S, self.said)
        assert self.process.poll() is None, self.said()
        (line,) = [line for line in self.said().splitlines() if line.startswith("  address  ")]
        return line.split()[1]

    async def client(self) -> AsyncClient:
        address = await self.ready()
        return AsyncClient(address, (self.data_dir / "api_key").read_text().strip())

    def processes(self, role: str = "") -> dict[int, str]:
        """Command lines by pid of everything that belongs to this stack and contains `role`."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (folder / "environ").read_bytes().split(b"\0")
                is_ours = f"{_MARK}={self.data_dir}".encode() in environment or str(self.data_dir) in command
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
            if is_ours and state != "Z" and role in command:
                found[int(folder.name)] = command
        return found

    async def gone(self) -> None:
        await until(lambda: not self.processes(), _DEADLINE_S, lambda: str(self.processes()))

    def kill(self) -> None:
        """kill -9 of `up` itself, and of nothing that it started."""
        self.process.kill()
        self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop; it must end well, in time, and leave nothing."""
        self.process.send_signal(number)
        code = await asyncio.to_thread(self.process.wait, _STOP_S)
        assert code == 0, self.said()
        assert self.processes() == {}, self.said()

    def close(self) -> None:
        """End what a failed test left."""
        for pid in [self.process.pid, *self.processes()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


async def until(fact: Callable[[], object], deadline_s: float, otherwise: Callable[[], str]) -> None:
    """Wait for a fact; `otherwise` says what there was instead when it does not come."""
    try:
        async with asyncio.timeout(deadline_s):
            while not fact():
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(otherwise())


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*options: str, **variables: str) -> Up:
        started.append(Up(tmp_path / "data", "--workers", "1", *options, **variables))
        return started[-1]

    yield start
    for stack in started:
        stack.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack for the tests that leave it as it was. At its end Ctrl-C stops it as well as SIGTERM does."""
    stack = Up(tmp_path_factory.mktemp("up") / "data", "--workers", "2", "--simulate")
    try:
        asyncio.run(stack.ready())
        yield stack
        asyncio.run(stack.stop(signal.SIGINT))
    finally:
        stack.close()


async def _gray_edit(client: AsyncClient) -> Job:
    """Submit the photograph, see it through, check that the result is gray and of the same size."""
    job = await client.submit(_COFFEE, prompt="make it black and white")
    job = await client.wait(job["id"], timeout_s=_DEADLINE_S)
    assert job["status"] == "succeeded", job["error"]
    _assert_gray(await client.result(job["id"]))
    return job


def _assert_gray(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (600, 400)
        red, green, blue = picture.convert("RGB").split()
        assert red.tobytes() == green.tobytes() == blue.tobytes()


async def test_jobs_results_and_keys_survive_a_stop_and_a_kill(up: Callable[..., Up]) -> None:
    first = up()
    async with await first.client() as client:
        job = await _gray_edit(client)
    key = (first.data_dir / "api_key").read_text()
    await first.stop()

    killed = up()
    async with await killed.client() as client:
        assert (killed.data_dir / "api_key").read_text() == key
        assert (await client.job(job["id"]))["status"] == "succeeded"
        _assert_gray(await client.result(job["id"]))
        await _gray_edit(client)
    assert len(killed.processes()) >= 5
    killed.kill()

    # Started at once, while the children of the killed one may still be ending.
    again = up()
    async with await again.client() as client:
        assert (await client.job(job["id"]))["status"] == "succeeded"
        await _gray_edit(client)
    await again.stop()
    await killed.gone()


async def test_children_carry_their_role_and_no_secret_in_their_command_line(shared: Up) -> None:
    assert len(shared.processes("-m gateway")) == 1
    assert len(shared.processes("-m worker")) == 2
    assert len(shared.processes("redis-server")) == 1
    assert len(shared.processes("rclone")) == 1
    secrets = [(shared.data_dir / name).read_text().strip() for name in ("secret", "redis.password", "s3.keys", "api_key")]
    parts = [part for secret in secrets for part in secret.split(":")]
    assert not [part for part in parts if part in " ".join(shared.processes().values())]
    assert not [part for part in parts if part in shared.said()]
    assert (shared.data_dir / "api_key").stat().st_mode & 0o777 == 0o600


async def test_a_second_stack_on_the_same_folder_is_refused_with_the_pid_of_the_first(shared: Up) -> None:
    second = Up(shared.data_dir, output="second.out")
    assert await asyncio.to_thread(second.process.wait, _DEADLINE_S) == 1
    assert f"is in use by process {shared.process.pid}:" in second.said()
    assert len(second.said().strip().splitlines()) <= 2
    async with await shared.client() as client:
        await _gray_edit(client)


async def test_an_edit_by_a_simulated_provider(shared: Up) -> None:
    async with await shared.client() as client:
        job = await client.submit(_COFFEE, prompt="turn the coffee into tea", model="qwen-edit")
        job = await client.wait(job["id"], timeout_s=_DEADLINE_S)
        assert job["status"] == "succeeded", job["error"]


async def test_keys_and_doctor_work_on_the_stack_that_runs(shared: Up) -> None:
    address = await shared.ready()
    doctor = await _beside("doctor", "--data-dir", str(shared.data_dir))
    assert doctor.returncode == 0, doctor.stdout
    key_file = shared.data_dir / "second_key"
    made = await _beside(
        "keys", "--data-dir", str(shared.data_dir), "create", "--tenant", "second", "--tier", "free",
        "--scopes", "read,submit", "--key-file", str(key_file),
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    async with AsyncClient(address, key_file.read_text().strip()) as client:
        await _gray_edit(client)
    async with AsyncClient(address, "es_" + "0" * 24) as client:
        with pytest.raises(ApiError) as refused:
            await client.submit(_COFFEE, prompt="make it black and white")
        assert (refused.value.status, refused.value.code) == (401, "unauthorized")


async def test_a_killed_child_of_every_kind_comes_back_and_edits_go_on(up: Callable[..., Up]) -> None:
    stack = up()
    async with await stack.client() as client:
        for role, name in (
            ("-m worker", "worker 1"),
            ("-m gateway", "gateway"),
            ("redis-server", "redis-server"),
            ("rclone", "s3-server"),
        ):
            (pid, *_) = stack.processes(role)
            os.kill(pid, signal.SIGKILL)
            await until(lambda name=name: f"{name} is back" in stack.said(), _DEADLINE_S, stack.said)
            assert f"{name} was ended by signal SIGKILL" in stack.said()
        await _gray_edit(client)
    await stack.stop()


async def test_a_redis_left_behind_by_a_killed_keeper_too_does_not_hinder_and_a_kill_alone_leaves_nothing(
    up: Callable[..., Up],
) -> None:
    killed = up()
    await killed.ready()
    # Frozen, it cannot act on the signal that the kernel sends it when its parent ends.
    (redis_pid,) = killed.processes("redis-server")
    os.kill(redis_pid, signal.SIGSTOP)
    (keeper_pid,) = killed.processes("standalone.keeper")
    killed.process.kill()
    os.kill(keeper_pid, signal.SIGKILL)
    killed.process.wait()

    again = up("--simulate")
    async with await again.client() as client:
        assert "ended the redis-server that an earlier run left behind" in again.said()
        await _gray_edit(client)
    assert len(again.processes()) >= 6
    again.kill()
    await again.gone()


async def test_a_port_in_use_is_told_in_one_line(up: Callable[..., Up]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        stack = up("--port", str(port))
        assert await asyncio.to_thread(stack.process.wait, _DEADLINE_S) == 1
    assert f"edit-studio: port {port} is in use" in stack.said()
    assert "Traceback" not in stack.said()
    await stack.gone()


async def test_a_stop_while_starting_leaves_nothing(up: Callable[..., Up]) -> None:
    stack = up()
    await until(lambda: "redis-server" in stack.said(), _START_S, stack.said)
    await stack.stop()


async def test_servers_that_are_configured_are_used_and_none_is_started(up: Callable[..., Up], tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", aof=True) as redis, S3Server(tmp_path / "s3") as s3:
        stack = up(
            EDIT_STUDIO_REDIS_URL=redis.url,
            EDIT_STUDIO_S3_ENDPOINT_URL=s3.endpoint_url,
            EDIT_STUDIO_S3_ACCESS_KEY=s3.access_key,
            EDIT_STUDIO_S3_SECRET_KEY=s3.secret_key,
        )
        async with await stack.client() as client:
            await _gray_edit(client)
        assert stack.processes("redis-server") == stack.processes("rclone") == {}
        with redis.client() as store:
            assert store.dbsize() > 0
        assert list(s3.objects.rglob("done.json"))
        await stack.stop()


async def _beside(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-P", "-m", "deploy.cli", *arguments)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDIT_STUDIO_")}
    return await asyncio.to_thread(
        lambda: subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
    )
