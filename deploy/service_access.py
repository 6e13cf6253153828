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
    command.add_argument("--api", metavar="URL", help="address of the service (EDIT_STUDIO_API_URL, else that of `up`)")
    command.add_argument("--key-file", type=Path, help="file with the API key (EDIT_STUDIO_API_KEY, else the one that `up` made)")
    command.add_argument("--data-dir", type=Path, help=f"data folder of `up` ({environment.default_data_dir()})")


def access(options: argparse.Namespace) -> tuple[str, str]:
    """Address and API key: the ones given, else those of the environment, else of the stack that `edit-studio up` has running.

    Raises NoAccess.
    """
    set_address, set_key = environment.service_given() if options.data_dir is None else (None, None)
    data_dir: Path = options.data_dir or environment.default_data_dir()
    found = options.api or set_address or (running_settings(data_dir) or {}).get("EDIT_STUDIO_PUBLIC_URL") or _DEFAULT_ADDRESS
    address = str(found).rstrip("/")
    if set_key is not None and options.key_file is None:
        return address, set_key
    file: Path = options.key_file or data_dir / "api_key"
    try:
        return address, file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoAccess(f"cannot read an API key from {file}: set EDIT_STUDIO_API_KEY, or name a file with --key-file") from error
