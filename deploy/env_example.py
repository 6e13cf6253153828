"""`python -m deploy.env_example`: every setting as a commented variable, made from `shared.settings`."""

import sys

from pydantic_core import PydanticUndefined

from shared.settings import Settings

_NOT_FOR_OPERATORS = ("provider_env", "fault", "parent_pid")
_MACHINE_DEPENDENT = {"pool_processes": "the number of cores", "url_ports": "[80, 443, 8000 to 8999]"}


def settings_table() -> list[tuple[str, str, str]]:
    """(variable, default, meaning) of each setting that operators may set."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name in _NOT_FOR_OPERATORS:
            continue
        default = field.default
        shown = "required" if default is PydanticUndefined else _shown(default)
        rows.append((f"EDIT_STUDIO_{name.upper()}", _MACHINE_DEPENDENT.get(name, shown), field.description or ""))
    return rows


def _shown(default: object) -> str:
    if default is None:
        return ""
    if hasattr(default, "get_secret_value"):
        return str(default.get_secret_value())
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, tuple):
        return str(list(default))
    return str(default)


def env_example() -> str:
    """The file's text."""
    lines = ["# Settings of gateway and worker. `edit-studio up` sets what it needs itself.", ""]
    for variable, default, meaning in settings_table():
        lines += [f"# {meaning}", f"# {variable}={'' if default == 'required' else default}", ""]
    lines += ["# Providers, by their names in the catalogue: the key, and the address where it is not the provider's own"]
    lines += ["# ACME_API_KEY=", "# ACME_BASE_URL=", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(env_example())
