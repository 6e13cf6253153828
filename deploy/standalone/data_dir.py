"""The folder that holds a stack's data, secrets and logs: one stack at a time, readable by its owner only."""

import fcntl
import json
import os
import secrets
import string
from collections.abc import Callable
from pathlib import Path

from deploy.standalone.ports import free_port, is_free

_PRIVATE_FILE = 0o600
_PRIVATE_FOLDER = 0o700
_LOG_MAX_BYTES = 10 * 1024 * 1024


class DataDirUnusable(Exception):
    """The folder cannot be used; the message says why and what to do."""


class DataDir:
    """An open data folder. It stays locked against other stacks until `close`, or until the process ends."""

    def __init__(self, root: Path) -> None:
        """Make the folder where needed and lock it. Raises DataDirUnusable."""
        self.root = root.expanduser().resolve()
        try:
            for folder in (self.root, self.redis, self.objects, self.logs, self.run):
                folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)
        except OSError as error:
            raise DataDirUnusable(f"cannot use the data folder {self.root}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise DataDirUnusable(
                f"the data folder {self.root} is in use by process {owner}: stop that one, or choose another --data-dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    @property
    def redis(self) -> Path:
        """redis-server's files: configuration, append-only file, socket."""
        return self.root / "redis"

    @property
    def objects(self) -> Path:
        """The S3 server's buckets."""
        return self.root / "objects"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What holds only while a stack runs: process ids, settings for commands beside it."""
        return self.root / "run"

    @property
    def api_key(self) -> Path:
        """The file with the caller's key; `gateway keys create` writes it."""
        return self.root / "api_key"

    @property
    def login_link(self) -> Path:
        """The file with the link that opens Edit Studio once; `gateway login` writes it."""
        return self.run / "login_link"

    def secret(self) -> str:
        """The master secret, made once."""
        return self._kept("secret", lambda: secrets.token_urlsafe(48))

    def redis_password(self) -> str:
        """redis-server's password, made once."""
        return self._kept("redis.password", lambda: secrets.token_hex(32))

    def s3_keys(self) -> tuple[str, str]:
        """Access and secret key of the S3 server, made once. Neither holds a comma or a quote."""
        access, secret = self._kept("s3.keys", _new_s3_keys).split(":")
        return access, secret

    def s3_port(self) -> int:
        """The S3 server's port: the last one if it is free, so that links given out before still hold."""
        path = self.root / "s3.port"
        if path.exists() and is_free("127.0.0.1", port := int(path.read_text())):
            return port
        port = free_port()
        write_private(path, str(port))
        return port

    def log(self, name: str) -> Path:
        """Where a process writes its log. A log over 10 MiB is set aside as `.1` first."""
        path = self.logs / f"{name}.log"
        if path.exists() and path.stat().st_size > _LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path

    def publish_settings(self, variables: dict[str, str]) -> None:
        """Leave settings for commands that are to work on the running stack (`running_settings`)."""
        write_private(self.run / "settings.json", json.dumps(variables))

    def close(self) -> None:
        """Unlock the folder."""
        (self.run / "settings.json").unlink(missing_ok=True)
        os.close(self._lock)

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.root / name
        if not path.exists():
            write_private(path, make())
        path.chmod(_PRIVATE_FILE)
        return path.read_text().strip()


def running_settings(root: Path) -> dict[str, str] | None:
    """The settings of the stack that runs in this folder, or None if none does."""
    try:
        lock = os.open(root / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            variables: dict[str, str] = json.loads((root / "run" / "settings.json").read_text())
        except OSError:
            return None
        return variables
    finally:
        os.close(lock)
    return None


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole by one that only its owner reads."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _new_s3_keys() -> str:
    letters = string.ascii_uppercase + string.digits
    return f"{''.join(secrets.choice(letters) for _ in range(20))}:{secrets.token_hex(24)}"
