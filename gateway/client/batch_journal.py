"""What a run of a batch has done, in a file of its result folder: a fact a line, so that the next run goes on from there."""

import fcntl
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

NAME = ".edit-studio-batch"
#: The service forgets what was uploaded and not used after a day.
_UPLOAD_S = 20 * 3_600


class JournalUnusable(Exception):
    """The folder is in use by another run, or its journal cannot be read; the message says which."""


@dataclass(frozen=True, slots=True)
class Item:
    """One edit of the batch. `stem`: of its result's file; `refusal`: why it was left out, empty if it was not."""

    custom_id: str
    source: str
    stem: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """`plan`: a digest of all that was asked for; `items`: in the order of the batch, with those that were left out."""

    batch_id: str
    plan: str
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an edit that has ended. `result`: its file, in the result folder; `cost`: USD."""

    status: str
    result: str | None = None
    error: str | None = None
    cost: float | None = None
    model: str | None = None


class Journal:
    """One run has it at a time. Facts are kept when they are told."""

    def __init__(self, folder: Path) -> None:
        """Make folder and file where needed. Raises JournalUnusable, OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.submitted: Submitted | None = None
        self.outcomes: dict[str, Outcome] = {}
        self._digests: dict[tuple[str, int, int], str] = {}
        self._images: dict[str, str] = {}
        self._file = (folder / NAME).open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            self._file.close()
            raise JournalUnusable(f"another run is filling {folder}: wait for its end, or choose another --out") from None
        except (ValueError, KeyError, TypeError) as error:
            self._file.close()
            raise JournalUnusable(f"{folder / NAME} is damaged: choose another --out") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def digest_of(self, path: Path, status: os.stat_result) -> str | None:
        """SHA-256 of a file that has not been touched since it was told."""
        return self._digests.get((str(path), status.st_size, status.st_mtime_ns))

    def image_id_of(self, digest: str) -> str | None:
        """What these bytes were uploaded as, if the service still has them."""
        return self._images.get(digest)

    def tell_digest(self, path: Path, status: os.stat_result, digest: str) -> None:
        """A file has these bytes (SHA-256)."""
        self._tell("digest", path=str(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)

    def tell_image(self, digest: str, image_id: str) -> None:
        """These bytes were uploaded."""
        self._tell("image", sha256=digest, image_id=image_id, at=time.time())

    def tell_submitted(self, submitted: Submitted) -> None:
        """The service has accepted the batch."""
        self._tell("submitted", **asdict(submitted))
        os.fsync(self._file.fileno())

    def tell_outcome(self, custom_id: str, outcome: Outcome) -> None:
        """An edit has ended, and its result is in its file."""
        self._tell("outcome", custom_id=custom_id, **asdict(outcome))

    def _tell(self, kind: str, **fact: Any) -> None:
        self._learn(kind, fact)
        self._file.write(json.dumps({"fact": kind, **fact}).encode() + b"\n")
        self._file.flush()

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                # The run was cut off while it told this.
                break
            fact = json.loads(line)
            self._learn(fact.pop("fact"), fact)
            whole += len(line)
        self._file.truncate(whole)

    def _learn(self, kind: str, fact: dict[str, Any]) -> None:
        if kind == "digest":
            self._digests[fact["path"], fact["size"], fact["mtime_ns"]] = fact["sha256"]
        elif kind == "image":
            if time.time() - fact["at"] < _UPLOAD_S:
                self._images[fact["sha256"]] = fact["image_id"]
        elif kind == "submitted":
            items = [Item(**item) for item in fact["items"]]
            self.submitted = Submitted(fact["batch_id"], fact["plan"], items)
        else:
            outcome = Outcome(**{name: value for name, value in fact.items() if name != "custom_id"})
            if outcome.result is None or (self.folder / outcome.result).exists():
                self.outcomes[fact["custom_id"]] = outcome
