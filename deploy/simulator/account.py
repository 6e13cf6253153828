"""What the simulated providers share: the caller's account with its ledger and limits, the faults, the files, the painters."""

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
import tempfile
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from deploy.simulator.faults import Fault, FaultCounts, parse

FETCH_MAX_BYTES = 25 * 1024 * 1024
_FETCH_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=5)
_FETCHES_AT_ONCE = 64
_LEDGER_MAX = 100_000
_LEDGER_TEXT_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Options:
    """How the simulator behaves. `key`: the only API key taken, None: any that does not start with `invalid`.

    `poll_pause_s`: between two polls of a task, for a provider that asks for one; `hold_s`: how long a call that waits for its
    task is kept open; `models_dir`: a folder with tables of more models, named like those beside this file.
    """

    latency_s: float = 2.0
    history_inputs: bool = True
    key: str | None = None
    max_concurrent: int | None = None
    per_minute: int | None = None
    balance_usd: float = 1_000.0
    files_max_bytes: int = 1024 * 1024 * 1024
    poll_pause_s: float = 10.0
    hold_s: float = 60.0
    models_dir: Path | None = None


class InputUnavailable(Exception):
    """An input's address yields no bytes."""


@dataclass(frozen=True, slots=True)
class Billed:
    """One billed submit. `at`: Unix seconds; `inputs`: addresses, data URIs cut short; of a form, its parts."""

    id: str
    model: str
    at: float
    usd: float
    inputs: tuple[str, ...]
    prompt: str


class Ledger:
    """Every billed submit, the oldest forgotten beyond `_LEDGER_MAX`; sums stay whole."""

    def __init__(self) -> None:
        self._entries: deque[Billed] = deque(maxlen=_LEDGER_MAX)
        self.count = 0
        self.total_usd = 0.0

    def bill(self, entry: Billed) -> None:
        """Add one submit."""
        self._entries.append(entry)
        self.count += 1
        self.total_usd += entry.usd

    def as_json(self) -> dict[str, object]:
        """`submits` oldest first, `count` and `total_usd` of all there ever were."""
        return {"count": self.count, "total_usd": round(self.total_usd, 6), "submits": [asdict(entry) for entry in self._entries]}


class Files:
    """Uploads and outputs in a temporary folder; the longest unused go when there is no room."""

    def __init__(self, max_bytes: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edit-studio-simulator-")
        self._kept: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        """Keep `data` as `name`, replacing what was there."""
        await asyncio.to_thread(self._path(name).write_bytes, data)
        self._drop(name)
        self._kept[name] = len(data), content_type
        self._bytes += len(data)
        gone = []
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            gone.append(next(iter(self._kept)))
            self._drop(gone[-1])
        for old in gone:
            await asyncio.to_thread(self._path(old).unlink, missing_ok=True)

    def get(self, name: str) -> tuple[Path, str] | None:
        """The file and its content type, or None if it is not there any more."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._path(name), self._kept[name][1]

    def close(self) -> None:
        """Remove all of them."""
        self._folder.cleanup()

    def _path(self, name: str) -> Path:
        return Path(self._folder.name) / name

    def _drop(self, name: str) -> None:
        length, _ = self._kept.pop(name, (0, ""))
        self._bytes -= length


class Account:
    """One simulated customer, with everything that its calls share. To be used between `open` and `close`."""

    files: Files
    painters: ThreadPoolExecutor
    _http: aiohttp.ClientSession

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ledger = Ledger()
        self.refuse_uploads = False
        self.stopping = asyncio.Event()  #: set when the server begins to stop
        self._fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
        self._counts = FaultCounts()
        self._faults: tuple[Fault, ...] = ()
        self._down_until = 0.0
        self._minute = 0
        self._this_minute = 0

    def open(self) -> None:
        """Take connections, threads and a folder for files. On the running loop."""
        self.files = Files(self.options.files_max_bytes)
        self.painters = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="paint")
        self._http = aiohttp.ClientSession(timeout=_FETCH_TIMEOUT)

    async def close(self) -> None:
        """Give them back."""
        await self._http.close()
        self.painters.shutdown(wait=True, cancel_futures=True)
        self.files.close()

    def set_faults(self, *, faults: str = "", down_s: float = 0.0, refuse_uploads: bool = False) -> None:
        """Faults for every submit, counted together; an API that answers 503 for `down_s`. Raises FaultUnknown."""
        self._faults = parse(faults)
        self._counts.clear()
        self._down_until = time.monotonic() + down_s
        self.refuse_uploads = refuse_uploads

    @property
    def is_down(self) -> bool:
        """Whether the API answers nothing but 503."""
        return time.monotonic() < self._down_until

    def takes_key(self, key: str) -> bool:
        """Whether `key` is a valid API key."""
        if self.options.key is not None:
            return secrets.compare_digest(key.encode(), self.options.key.encode())
        return bool(key) and not key.startswith("invalid")

    def takes_another(self, running: int) -> bool:
        """Whether the limits allow one more submit beside `running` tasks. Counts it."""
        minute = int(time.time() // 60)
        if minute != self._minute:
            self._minute, self._this_minute = minute, 0
        self._this_minute += 1
        options = self.options
        if options.per_minute is not None and self._this_minute > options.per_minute:
            return False
        return options.max_concurrent is None or running < options.max_concurrent

    async def strike(self, own: tuple[Fault, ...], *, prompt: str, picture: str | bytes) -> tuple[Fault, ...]:
        """The faults that strike this submit: those set for every submit, else its own.

        A counted fault is counted per prompt and picture, whatever the address: links are signed anew for every call.
        """
        if struck := self._counts.strike(self._faults, ""):
            return struck
        key = prompt
        if any(fault.count is not None for fault in own):
            try:
                key += hashlib.sha256(picture if isinstance(picture, bytes) else await self.fetch(picture)).hexdigest()
            except InputUnavailable:
                key += str(picture).partition("?")[0]
        return self._counts.strike(own, key)

    def bill(self, task_id: str, *, model: str, usd: float, inputs: list[str], prompt: str) -> None:
        """Write one accepted submit into the ledger."""
        shown = tuple(shortened(address) for address in inputs)
        self.ledger.bill(Billed(task_id, model, time.time(), usd, shown, prompt[:_LEDGER_TEXT_MAX]))

    async def fetch(self, address: str) -> bytes:
        """The bytes behind a web address or in a data URI. Raises InputUnavailable."""
        if address.startswith("data:"):
            return await asyncio.to_thread(_decoded, address)
        if not address.startswith(("http://", "https://")):
            raise InputUnavailable("the input is neither a web address nor a data URI")
        async with self._fetches:
            try:
                async with self._http.get(address) as response:
                    if response.status != 200:
                        raise InputUnavailable(f"the input's address answered {response.status}")
                    data = bytearray()
                    async for chunk in response.content.iter_chunked(256 * 1024):
                        data += chunk
                        if len(data) > FETCH_MAX_BYTES:
                            raise InputUnavailable("the input is too large")
                    return bytes(data)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise InputUnavailable("the input's address does not answer") from error


def shortened(address: str) -> str:
    """The address as it is shown: a data URI without its data."""
    return f"{address.partition(',')[0]},… ({len(address)} characters)" if address.startswith("data:") else address


def _decoded(address: str) -> bytes:
    try:
        return base64.b64decode(address.partition(";base64,")[2], validate=True)
    except binascii.Error as error:
        raise InputUnavailable("the data URI is not base64") from error
