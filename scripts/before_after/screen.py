"""The demonstration on a terminal: two columns, the proof read from Redis, and the table at the end."""

from __future__ import annotations

import time
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from before_after.scene import Scene

SHOWN = 190
"""Characters of an answer that are shown."""


class Screen:
    """Prints scenes. ``pause``: seconds to wait after each step, for a person to follow."""

    def __init__(self, console: Console, pause: float = 0.0) -> None:
        self.console, self._pause = console, pause

    def opening(self, facts: list[tuple[str, str]]) -> None:
        """Show the setup of the demonstration."""
        grid = Table.grid(padding=(0, 2))
        for name, value in facts:
            grid.add_row(Text(name, style="dim"), Text(value))
        self.console.print(Panel(grid, title="Before and after", border_style="cyan", box=box.ROUNDED))

    def scene(self, number: int, title: str, about: str) -> None:
        """Show the heading of a scene."""
        self.console.print()
        self.console.rule(Text(f"{number}. {title}", style="bold"), style="cyan", align="left")
        self.console.print(Padding(Text(about, style="italic"), (0, 1, 1, 1)))

    def columns(self) -> None:
        """Show the headings of the two columns."""
        self._columns(
            Text("BEFORE  memory of one process", style="bold red"),
            Text("AFTER  Redis, memory and journal", style="bold green"),
        )

    def event(self, text: str) -> None:
        """Show what is done to the processes or the server."""
        self.console.print(Padding(Text(f"⚡ {text}", style="bold yellow"), (0, 0, 1, 1)))
        self._wait()

    def turns(self, before: dict[str, Any] | str, after: dict[str, Any] | str) -> None:
        """Show a turn in each mode, or a sentence instead of one."""
        self._columns(self._turn(before), self._turn(after))
        self._wait()

    def turn(self, turn: dict[str, Any]) -> None:
        """Show a turn of a scene with only one mode."""
        self.console.print(Padding(self._turn(turn), (0, 1)))
        self._wait()

    def closing(self, scene: Scene) -> None:
        """Show the proof and the checks of a scene."""
        if scene.proof:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="cyan", no_wrap=True, min_width=max(len(command) for command, _ in scene.proof))
            table.add_column(no_wrap=True, overflow="ellipsis")
            for command, reply in scene.proof:
                table.add_row(Text(command), Text(reply))
            self.console.print(Text(" Read from Redis", style="dim"))
            self.console.print(Padding(table, (0, 0, 1, 1)))
        for claim, held in scene.checks:
            mark = (" ✔ ", "bold green") if held else (" ✘ ", "bold red")
            self.console.print(Text.assemble(mark, claim))
        self._wait()

    def comparison(self, rows: list[dict[str, str]]) -> None:
        """Show the table at the end."""
        self.console.print()
        self.console.rule(Text("What was measured in this run", style="bold"), style="cyan", align="left")
        table = Table(box=box.ROUNDED, show_lines=True, border_style="dim", header_style="bold")
        table.add_column("")
        table.add_column("before", style="red", ratio=1)
        table.add_column("after", style="green", ratio=1)
        for row in rows:
            table.add_row(Text(row["aspect"], style="bold"), row["before"], row["after"])
        self.console.print(table)

    def _columns(self, left: RenderableType, right: RenderableType) -> None:
        grid = Table.grid(expand=True, padding=(0, 2, 0, 1))
        grid.add_column(ratio=1)
        grid.add_column(ratio=1)
        grid.add_row(left, right)
        self.console.print(grid)

    def _turn(self, turn: dict[str, Any] | str) -> Text:
        if isinstance(turn, str):
            return Text(turn + "\n", style="italic")
        answer = " ".join(turn["answer"].split())
        text = Text(f"> {turn['question']}\n", style="bold")
        text.append(answer if len(answer) <= SHOWN else answer[: SHOWN - 1] + "…", style="default not bold")
        text.append(f"\nknew {turn['known']} messages · {turn['persistence']}", style="dim not bold")
        return text.append("\n")

    def _wait(self) -> None:
        if self._pause:
            time.sleep(self._pause)
