"""Which service the commands of a caller talk to, and with which key."""

import argparse
from pathlib import Path

from deploy.standalone import environment
from deploy.standalone.data_dir import running_settings

_DEFAULT_ADDRESS = "http://127.0.0.1:8080"


class NoAccess(Exception):
    """There is no key to use; the message says where it was looked for."""


def add_access_options(command: argparse.ArgumentParser) -> None:
    """`--api`, `--key-file` and `--data-dir`."""
    command.add_argument("--api", metavar="URL", help=f"address of the service (that of `up`, or {_DEFAULT_ADDRESS})")
    command.add_argument("--key-file", type=Path, help="file with the API key (the one that `up` made)")
    command.add_argument("--data-dir", type=Path, help=f"data folder of `up` ({environment.default_data_dir()})")


def access(options: argparse.Namespace) -> tuple[str, str]:
    """Address and API key: the ones given, else those of the stack that `edit-studio up` has running. Raises NoAccess."""
    data_dir: Path = options.data_dir or environment.default_data_dir()
    address: str = options.api or (running_settings(data_dir) or {}).get("EDIT_STUDIO_PUBLIC_URL") or _DEFAULT_ADDRESS
    file: Path = options.key_file or data_dir / "api_key"
    try:
        return address.rstrip("/"), file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoAccess(f"cannot read the API key from {file}: name its file with --key-file") from error
