"""`python -m gateway`: one gateway process; `python -m gateway keys …`, `… tenants …`, `… login …`, `… doctor`."""

import asyncio
import sys
from collections.abc import Sequence

from rich.console import Console

from gateway import doctor
from gateway.keys import run_keys, run_tenants
from gateway.login import run_login
from gateway.serve import run_gateway
from shared.errors import EditStudioError
from shared.settings import SettingsInvalid, load_settings


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; answers the exit code, with one line on stderr when it could not."""
    try:
        settings = load_settings()
        match arguments:
            case []:
                return run_gateway(settings)
            case ["keys", *rest]:
                return asyncio.run(run_keys(settings, rest, Console()))
            case ["login", *rest]:
                return asyncio.run(run_login(settings, rest, Console()))
            case ["tenants", *rest]:
                return asyncio.run(run_tenants(settings, rest, Console()))
            case ["doctor", *rest]:
                wanted = doctor.parser().parse_args(rest)
                return doctor.report(asyncio.run(doctor.run(settings)), Console(), as_json=wanted.json)
    except (SettingsInvalid, EditStudioError) as error:
        sys.stderr.write(f"gateway: {error}\n")
        return 1
    sys.stderr.write("usage: python -m gateway [keys … | tenants … | login … | doctor]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
