"""`python -m tests.readme_tables`: writes the README's generated tables; a test fails when they are not what this prints."""

import ast
import re
from pathlib import Path

from deploy.env_example import settings_table
from deploy.exit_codes import Exit
from gateway.metrics import DESCRIPTIONS
from shared.catalog.load import load_catalog

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MATRIX = [ROOT / "tests/end_to_end" / name for name in ("test_failure_matrix.py", "test_outage_matrix.py")]


def models_table() -> str:
    """All models of the catalogue."""
    lines = ["| model | provider | operations | from USD | largest | inputs | needs |", "|---|---|---|---|---|---|---|"]
    catalog = load_catalog()
    for model in catalog.models.values():
        needs = f"`{model.provider.upper()}_API_KEY`" if catalog.providers[model.provider].needs_key else ""
        width, height = model.max_resolution
        operations = ", ".join(operation.value for operation in model.operations)
        largest = f"{width}×{height}"
        lines.append(
            f"| `{model.id}` | {model.provider} | {operations} | {model.price.base} | {largest} | {model.max_images} | {needs} |"
        )
    return "\n".join(lines)


def settings_rows() -> str:
    """All settings that operators may set."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{variable}` | {f'`{default}`' if default else ''} | {meaning} |" for variable, default, meaning in settings_table()
    ]
    return "\n".join(lines)


def metric_table() -> str:
    """All metrics of ours."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for what in DESCRIPTIONS.values():
        labels = ", ".join(f"`{label}`" for label in what.labels)
        lines.append(f"| `{what.name}` | {what.kind} | {labels} | {what.help} |")
    return "\n".join(lines)


def exits_table() -> str:
    """How the command line ends."""
    return "\n".join(["| exit code | meaning |", "|---|---|", *(f"| {code.value} | {code.meaning} |" for code in Exit)])


def promises_table() -> str:
    """Every test of the failure matrix with the first line of what it says of itself."""
    lines = ["| when | what happens | test |", "|---|---|---|"]
    for node in (node for file in MATRIX for node in ast.parse(file.read_text()).body):
        if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)) and node.name.startswith("test_"):
            said = (ast.get_docstring(node) or "").split("\n")[0]
            when = node.name.removeprefix("test_").replace("_", " ")
            lines.append(f"| {when} | {said} | `{node.name}` |")
    return "\n".join(lines)


def filled(text: str) -> str:
    """The README with its tables as they should be."""
    tables = {"models": models_table(), "settings": settings_rows(), "promises": promises_table(), "metrics": metric_table()}
    tables["exits"] = exits_table()
    for name, table in tables.items():
        text = placed(text, name, "python -m tests.readme_tables", table)
    return text


def placed(text: str, name: str, command: str, table: str) -> str:
    """The README with `table` between its markers, which tell the command that prints it."""
    pattern = rf"(<!-- {name}: {re.escape(command)} -->\n).*?(<!-- {name} end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{table}\n{found[2]}", text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
