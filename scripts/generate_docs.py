"""Write what is derived from the code: `.env.example` and `docs/configuration.md`, both out of `Settings`.

Run it after a change to `rag_chain/settings.py`; a test finds files that are not up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from rag_chain import Settings

ROOT = Path(__file__).resolve().parent.parent
NAMED_DEFAULTS = {"journal_path": "journal.sqlite3 in the user's state folder"}
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
        "settings = Settings(session_ttl=600)   # the others from the environment",
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


GENERATED = {".env.example": env_example, "docs/configuration.md": configuration}


def main() -> None:
    for path, generate in GENERATED.items():
        (ROOT / path).write_text(generate(), encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
