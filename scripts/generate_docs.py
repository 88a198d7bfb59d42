"""Write what is derived: from the code, from the results of measurements, and figures in the pages.

    .env.example              out of Settings
    docs/configuration.md     out of Settings
    docs/api.md               out of the docstrings of the public names
    docs/benchmarks.md        out of results/*.json, with the plots in docs/images
    docs/ingestion.md         the table of the kinds of files, out of rag_chain.ingestion.kinds
    docs/reliability.md       the tables in it, out of results/faults.json
    docs/project-index.md     the tables of files in it, out of each file's own first sentence
    figures in README, docs   out of results/*.json, see docs_figures.py

Run it after a change to any of them; a test finds what is not up to date.

Examples:
    python scripts/generate_docs.py

    python scripts/generate_docs.py --check     # writes nothing; exit code 1 names what is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).parent))  # for whoever loads this file from elsewhere

from docs_api import api
from docs_benchmarks import IMAGES, benchmarks, mark, plots, write_plots
from docs_figures import FIGURE, FigureError, filled
from docs_project_index import file_tables
from docs_reliability import matrix
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from rag_chain import Settings
from rag_chain.cli.command_line import run_command
from rag_chain.ingestion.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent
NAMED_DEFAULTS = {
    "journal_path": "journal.sqlite3 in the user's state folder",
    "api_keys_path": "api_keys.json in the user's state folder",
}
"""Defaults that depend on the machine, in words."""


def default_of(name: str) -> str:
    """The default of a setting as it would stand in a file, or in words; empty: none."""
    field = Settings.model_fields[name]
    value: Any = field.default
    if name in NAMED_DEFAULTS or value is PydanticUndefined:
        return NAMED_DEFAULTS[name]
    return "" if value is None else value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def env_example() -> str:
    """`.env.example`: every variable, explained, commented out."""
    lines = ["# Copy this file to .env and change what you need. What is commented out has its default.", ""]
    for name, field in Settings.model_fields.items():
        value = "" if name in NAMED_DEFAULTS else default_of(name)
        lines += [f"# {field.description}", f"#{field.validation_alias}={value}", ""]
    return "\n".join(lines).rstrip() + "\n"


def configuration() -> str:
    """`docs/configuration.md`: the same as a table."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable. A `.env` file in the working directory is read too; the",
        "environment wins over it, and arguments of `Settings(...)` win over both.",
        "",
        "```python",
        "from rag_chain import Settings",
        "",
        "settings = Settings(session_ttl=600)  # the others from the environment",
        "assert settings.session_ttl == 600",
        "```",
        "",
        "A value out of its range is refused when the settings are made, with the name of its variable.",
        "",
        "| variable | argument | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, field in Settings.model_fields.items():
        default = default_of(name)
        shown = default if name in NAMED_DEFAULTS or not default else f"`{default}`"
        description = str(field.description).replace("|", "\\|")
        lines.append(f"| `{field.validation_alias}` | `{name}` | {shown} | {description} |")
    return "\n".join(lines) + "\n"


def project_index() -> str:
    """`docs/project-index.md` with its tables of files as they are now."""
    page = (ROOT / "docs" / "project-index.md").read_text(encoding="utf-8")
    return _FILES.sub(lambda m: f"{m[1]}\n{file_tables()}\n{m[2]}", page)


def ingestion() -> str:
    """`docs/ingestion.md` with its table of the kinds of files."""
    lines = ["| kind | endings | what is read | what is not | place of a chunk |", "| --- | --- | --- | --- | --- |"]
    for kind in KINDS:
        endings = " ".join(f"`{suffix}`" for suffix in kind.suffixes.split()) or "by language"
        lines.append(f"| {kind.name} | {endings} | {kind.read} | {kind.unread} | {kind.place} |")
    page = (ROOT / "docs" / "ingestion.md").read_text(encoding="utf-8")
    return _KINDS.sub(lambda m: "\n".join([m[1], *lines, m[2]]), page)


_KINDS = re.compile(r"(<!-- kinds: generated -->)\n.*?(<!-- /kinds -->)", re.DOTALL)


def reliability() -> str:
    """`docs/reliability.md` with the matrix of the last run."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    return _MATRIX.sub(lambda m: f"{m[1]}\n{matrix()}\n{m[2]}", page)


_MATRIX = re.compile(r"(<!-- matrix: generated -->)\n.*?(<!-- /matrix -->)", re.DOTALL)
_FILES = re.compile(r"(<!-- files: generated -->)\n.*?(<!-- /files -->)", re.DOTALL)
GENERATED = {
    ".env.example": env_example,
    "docs/configuration.md": configuration,
    "docs/api.md": api,
    "docs/benchmarks.md": benchmarks,
    "docs/ingestion.md": ingestion,
    "docs/reliability.md": reliability,
    "docs/project-index.md": project_index,
}


def pages() -> list[Path]:
    """The pages written by hand, in which figures may stand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def stale() -> dict[Path, str]:
    """What is not up to date, and its text as it should be. Plots are not among them.

    Raises:
        FigureError: a figure names nothing.
    """
    found = {}
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if FIGURE.search(text) and (right := filled(text)) != text:
            found[path] = right
    for name, generate in GENERATED.items():
        path = ROOT / name
        text = generate()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found[path] = text
    return found


def stale_plots() -> list[Path]:
    """The plots that were drawn of other results, or not at all."""
    return [
        path
        for name in plots()
        if not (path := IMAGES / f"{name}.svg").exists() or mark(name) not in path.read_text(encoding="utf-8")
    ]


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing, name what is not up to date.")] = False,
) -> None:
    """Write what is derived and not up to date, or name it."""
    try:
        found = stale()
    except FigureError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    old_plots = stale_plots()
    if check:
        for path in [*found, *old_plots]:
            print(f"not up to date: {path.relative_to(ROOT)}", file=sys.stderr)
        raise typer.Exit(1 if found or old_plots else 0)
    while found:  # the index tells what the pages say of themselves, so it may change once more
        for path, text in found.items():
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
        found = stale()
    if old_plots:
        for path in write_plots():
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main, __doc__)
