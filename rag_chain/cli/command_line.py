"""What all commands share: help texts with examples, settings from options, exit codes, output."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from rag_chain.errors import RagChainError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

# Soft wrap: ids and answers must not be cut at the terminal's width. Tables are printed with soft_wrap=False; a file or
# a pipe has no width of its own, so that they get 120 columns there.
console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True, soft_wrap=True)


def new_app(help_text: str | None, *, completion: bool = False) -> typer.Typer:
    """Return an app without commands, whose help is ``help_text``."""
    return typer.Typer(
        help=format_help(help_text),
        no_args_is_help=True,
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def add_command(app: typer.Typer, command: Callable[..., None], name: str | None = None) -> None:
    """Add a command to ``app``. Its help is its docstring, its name by default the function's."""
    text = inspect.cleandoc(command.__doc__ or "")
    # The list of commands shows the first sentence up to a colon, which is short enough for one line.
    app.command(name, help=format_help(text), short_help=re.split(r"[:.]", text)[0] + ".")(command)


def run_command(command: Callable[..., None], help_text: str | None = None) -> None:
    """Run one command as a script of its own. Its help is ``help_text``, by default its docstring."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=format_help(help_text or command.__doc__))(command)
    app()


def format_help(text: str | None) -> str:
    """Mark the indented paragraphs of ``text``, so that the help shows them as they are written."""
    text = re.sub(r"^(Examples?:)\n(?=    )", r"\1\n\n", inspect.cleandoc(text or ""), flags=re.MULTILINE)
    paragraphs = text.split("\n\n")
    return "\n\n".join(f"\b\n{one}" if one.startswith("    ") else one for one in paragraphs)


@contextmanager
def exit_codes(when_interrupted: str = "") -> Iterator[None]:
    """Turn an error of this package into one line and its exit code, and Ctrl-C into exit code 130.

    Args:
        when_interrupted: printed after Ctrl-C, where there is something to say.
    """
    try:
        yield
    except RagChainError as error:
        print_error(error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        if when_interrupted:
            errors.print(when_interrupted)
        raise typer.Exit(INTERRUPTED) from None


def print_error(error: RagChainError | str) -> None:
    """Print one line to standard error."""
    errors.print(Text(f"Error: {error}", style="red"))


def print_json(value: Any) -> None:
    """Print one line of JSON to standard output."""
    typer.echo(json.dumps(value, default=_to_text, ensure_ascii=False))


def _to_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
