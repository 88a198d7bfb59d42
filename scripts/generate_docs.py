"""Generate pages and parts of pages from the code and from the results of measurements.

    .env.example              from Settings
    docs/configuration.md     from Settings
    docs/api.md               from the docstrings of the public names
    docs/benchmarks.md        from results/*.json, with the plots in docs/images
    docs/ingestion.md         the table of the kinds of files, from rag_chain.ingestion.kinds
    docs/reliability.md       its tables, from results/faults.json
    docs/deployment.md        its tables of sizes, from results/capacity.json and results/retrieval.json
    docs/project-index.md     its tables of files, from the first sentence of each file
    figures in README, docs   from results/*.json, see docs_figures.py

Run it after a change to any of them; a test finds pages that are not up to date.

Examples:
    python scripts/generate_docs.py

    python scripts/generate_docs.py --check     # writes nothing; exit code 1 if a page is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).parent))  # for imports of this file from elsewhere

from docs_api import api
from docs_benchmarks import IMAGES, benchmarks, mark, plots, write_plots
from docs_capacity import growth, sizes
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
"""Descriptions of defaults that depend on the machine."""


def default_of(name: str) -> str:
    """Return the default of a setting as written in a .env file, or a description; empty: none."""
    field = Settings.model_fields[name]
    value: Any = field.default
    if name in NAMED_DEFAULTS or value is PydanticUndefined:
        return NAMED_DEFAULTS[name]
    return "" if value is None else value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def env_example() -> str:
    """Return `.env.example`: every variable, explained, commented out."""
    lines = ["# Copy this file to .env and change what you need. Commented lines show the defaults.", ""]
    for name, field in Settings.model_fields.items():
        value = "" if name in NAMED_DEFAULTS else default_of(name)
        lines += [f"# {field.description}", f"#{field.validation_alias}={value}", ""]
    return "\n".join(lines).rstrip() + "\n"


def configuration() -> str:
    """Return `docs/configuration.md`: every setting in a table."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable. A `.env` file in the working directory is read too; the",
        "environment takes precedence over it, and arguments of `Settings(...)` over both.",
        "",
        "```python",
        "from rag_chain import Settings",
        "",
        "settings = Settings(session_ttl=600)  # the others from the environment",
        "assert settings.session_ttl == 600",
        "```",
        "",
        "A value out of its range raises an error that names its variable when the settings are created.",
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
    """Return `docs/project-index.md` with current tables of files."""
    page = (ROOT / "docs" / "project-index.md").read_text(encoding="utf-8")
    return _FILES.sub(lambda m: f"{m[1]}\n{file_tables()}\n{m[2]}", page)


def ingestion() -> str:
    """Return `docs/ingestion.md` with its table of the kinds of files."""
    lines = ["| kind | suffixes | what is read | what is not | place of a chunk |", "| --- | --- | --- | --- | --- |"]
    for kind in KINDS:
        endings = " ".join(f"`{suffix}`" for suffix in kind.suffixes.split()) or "by language"
        lines.append(f"| {kind.name} | {endings} | {kind.read} | {kind.unread} | {kind.place} |")
    page = (ROOT / "docs" / "ingestion.md").read_text(encoding="utf-8")
    return _KINDS.sub(lambda m: "\n".join([m[1], *lines, m[2]]), page)


_KINDS = re.compile(r"(<!-- kinds: generated -->)\n.*?(<!-- /kinds -->)", re.DOTALL)


def reliability() -> str:
    """Return `docs/reliability.md` with the matrix of the latest run."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    return _MATRIX.sub(lambda m: f"{m[1]}\n{matrix()}\n{m[2]}", page)


def deployment() -> str:
    """`docs/deployment.md` with its sizes as they were measured."""
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    page = _SIZES.sub(lambda m: f"{m[1]}\n{sizes()}\n{m[2]}", page)
    return _GROWTH.sub(lambda m: f"{m[1]}\n{growth()}\n{m[2]}", page)


_SIZES = re.compile(r"(<!-- sizes: generated -->)\n.*?(<!-- /sizes -->)", re.DOTALL)
_GROWTH = re.compile(r"(<!-- growth: generated -->)\n.*?(<!-- /growth -->)", re.DOTALL)
_MATRIX = re.compile(r"(<!-- matrix: generated -->)\n.*?(<!-- /matrix -->)", re.DOTALL)
_FILES = re.compile(r"(<!-- files: generated -->)\n.*?(<!-- /files -->)", re.DOTALL)
GENERATED = {
    ".env.example": env_example,
    "docs/configuration.md": configuration,
    "docs/api.md": api,
    "docs/benchmarks.md": benchmarks,
    "docs/ingestion.md": ingestion,
    "docs/reliability.md": reliability,
    "docs/deployment.md": deployment,
    "docs/project-index.md": project_index,
}


def pages() -> list[Path]:
    """Return the handwritten pages, which may have figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def stale() -> dict[Path, str]:
    """Return the files that are not up to date, with their new text; without plots.

    Raises:
        FigureError: a figure names a value that does not exist.
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
    """Return the plots that are missing or were drawn from other results."""
    return [
        path
        for name in plots()
        if not (path := IMAGES / f"{name}.svg").exists() or mark(name) not in path.read_text(encoding="utf-8")
    ]


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing, list what is not up to date.")] = False,
) -> None:
    """Write or list the generated files that are not up to date."""
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
    while found:  # the index has the first sentences of the pages, so it may change once more
        for path, text in found.items():
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
        found = stale()
    if old_plots:
        for path in write_plots():
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    run_command(main, __doc__)
