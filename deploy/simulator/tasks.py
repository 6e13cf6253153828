"""Tasks of a simulated provider that works asynchronously: accepted at once, painted afterwards, kept for a while."""

import asyncio
import logging
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from deploy.simulator.account import Account, InputUnavailable, shortened
from deploy.simulator.faults import Fault
from deploy.simulator.paint import NotAPicture, cut_out, extend_evenly, paint
from deploy.simulator.schema import Invalid, SimulatedModel

INVALID, UNFETCHABLE, INTERNAL = 1401, 1402, 5000

_KEPT_MAX = 20_000
_PAINTED_AT_ONCE = 16
_SPOILS = frozenset({"truncated", "html", "blank", "placeholder", "echo"})
_ENDINGS = frozenset({"cancelled", "timeout", "deleted"})
_MESSAGES = {
    1200: "The content may contain sensitive information",
    1407: "Insufficient credits",
    5000: "Internal error",
    5003: "Service unavailable",
}
_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Task:
    """One accepted submit. `created_at`: Unix seconds; `output`: name of the file that holds it; `code`: why it failed."""

    id: str
    model: SimulatedModel
    body: dict[str, Any]
    prompt: str
    faults: dict[str, Fault]
    created_at: float = field(default_factory=time.time)
    status: str = "created"
    output: str | None = None
    code: int = 0
    error: str = ""
    took_ms: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def later_status(self, kind: str) -> int | None:
        """The status that a fault `poll-NNN` or `output-NNN` answers now, or None. Counts it."""
        for name, fault in self.faults.items():
            if (
                name.startswith(f"{kind}-")
                and name[-3:].isdecimal()
                and (fault.count is None or self.answered[name] < fault.count)
            ):
                self.answered[name] += 1
                return int(name[-3:])
        return None


class Tasks:
    """The newest tasks of one provider. Each runs as an asyncio task until `close`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._tasks: OrderedDict[str, Task] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()
        self._easels = asyncio.Semaphore(_PAINTED_AT_ONCE)  # Inputs lie in memory from being fetched to being painted.

    @property
    def running(self) -> int:
        """How many have not ended."""
        return len(self._running)

    def start(self, model: SimulatedModel, body: dict[str, Any], *, prompt: str, faults: tuple[Fault, ...]) -> Task:
        """Accept a submit: bill it and begin. Returns at once."""
        task = Task(secrets.token_hex(16), model, body, prompt, {fault.name: fault for fault in faults})
        self._tasks[task.id] = task
        while len(self._tasks) > _KEPT_MAX and next(iter(self._tasks.values())).ended.is_set():
            self._tasks.popitem(last=False)
        inputs, mask = model.media(body)
        self._account.bill(
            task.id,
            model=model.path,
            usd=model.price_usd(body),
            inputs=[*inputs, *([mask] if mask else ())],
            prompt=str(body.get("prompt", "")),
        )
        runner = asyncio.create_task(self._run(task))
        self._running.add(runner)
        runner.add_done_callback(self._running.discard)
        return task

    def get(self, task_id: str) -> Task | None:
        """The task, or None if there is none of this name or it was forgotten."""
        return self._tasks.get(task_id)

    def newest_first(self) -> Iterator[Task]:
        """All that are kept."""
        return iter(reversed(self._tasks.values()))

    async def close(self) -> None:
        """Stop all of them."""
        for runner in self._running:
            runner.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, task: Task) -> None:
        started = time.monotonic()
        task.status = "warming-up" if "odd-status" in task.faults else "processing"
        try:
            await self._work(task, started)
        except InputUnavailable as error:
            _fail(task, UNFETCHABLE, str(error))
        except (NotAPicture, Invalid) as error:
            _fail(task, INVALID, str(error))
        except Exception:
            _logger.exception("the simulator failed at task %s", task.id)
            _fail(task, INTERNAL, "internal error")
        finally:
            task.took_ms = int((time.monotonic() - started) * 1000)
            task.ended.set()

    async def _work(self, task: Task, started: float) -> None:
        task.model.check_ranges(task.body)
        async with self._easels:
            output = await self._painted(task)
        if "stuck" in task.faults:
            await asyncio.Event().wait()  # Until `close` cancels it: that is what the fault is for.
        slow = task.faults.get("slow")
        latency_s = self._account.options.latency_s if slow is None or slow.seconds is None else slow.seconds
        await asyncio.sleep(max(0.0, latency_s - (time.monotonic() - started)))
        code = next((fault.code for fault in task.faults.values() if fault.code), None)
        ending = next((name for name in task.faults if name in _ENDINGS), None)
        if code:
            _fail(task, code, _MESSAGES.get(code, f"simulated failure {code}"))
        elif ending:
            task.status, task.error = ending, f"task {ending}"
        elif task.status != "deleted":
            task.status, task.output = "completed", output

    async def _painted(self, task: Task) -> str:
        """Fetch the inputs, edit, keep the output; its file's name. Raises InputUnavailable, NotAPicture."""
        images, mask = task.model.media(task.body)
        pictures = [await self._account.fetch(address) for address in images]
        mask_bytes = await self._account.fetch(mask) if mask else None
        for name in ("image", "mask_image"):  # From here on only the record needs them: data URIs would fill the memory.
            if name in task.body:
                task.body[name] = shortened(task.body[name])
        if "images" in task.body:
            task.body["images"] = [shortened(address) for address in task.body["images"]]
        spoiled_as = next((name for name in task.faults if name in _SPOILS), "")
        output_format = task.model.output_format(task.body)
        seed = task.body.get("seed", -1)
        size_for = partial(task.model.size_for, task.body)
        if task.model.extends:
            extending = partial(extend_evenly, pictures[0], size_for, enlarges="size" not in task.body)
            pictures[0], mask_bytes = await asyncio.get_running_loop().run_in_executor(self._account.painters, extending)
        work = partial(
            paint,
            pictures,
            prompt=task.prompt,
            seed=int(task.id, 16) if seed == -1 else seed,
            size_for=(lambda size: size) if task.model.extends else size_for,
            output_format=output_format,
            mask=mask_bytes,
            transparent_is_edit=task.model.mask_polarity == "transparent",
            spoiled_as=spoiled_as,
        )
        if task.model.cuts_out and not spoiled_as:
            work = partial(cut_out, pictures[0], output_format)
        data = await asyncio.get_running_loop().run_in_executor(self._account.painters, work)
        name = f"{task.id}.{output_format}"
        await self._account.files.put(name, data, "text/html" if spoiled_as == "html" else f"image/{output_format}")
        return name


def _fail(task: Task, code: int, message: str) -> None:
    task.status, task.code, task.error = "failed", code, message
