"""``rag-chain chat``: reads the options and holds the conversation."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from rag_chain.cli.command_line import exit_codes

if TYPE_CHECKING:
    from rag_chain.cli.turns import Backend


class Mode(StrEnum):
    """Where sessions are kept."""

    before = "before"
    after = "after"


class Retrieval(StrEnum):
    """How an agent gets its sources."""

    tool = "tool"
    context = "context"
    off = "off"


def chat(
    question: Annotated[str | None, typer.Option("--ask", help="Ask one question and exit.")] = None,
    script: Annotated[Path | None, typer.Option(help="Hold the conversations of a YAML file and check them.")] = None,
    session: Annotated[str | None, typer.Option(help="Session to continue; by default a new one.")] = None,
    user: Annotated[str | None, typer.Option(help="The session's user.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis server, in place of REDIS_URL.")] = None,
    no_redis: Annotated[bool, typer.Option("--no-redis", help="Use no Redis.")] = False,
    index_dir: Annotated[
        Path | None, typer.Option(help="Folder of the index, in place of RAG_INDEX_DIR and RAG_INDEX_URL.")
    ] = None,
    access: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Access tag of the reader; repeat for more. Without: open documents alone."),
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Metadata of the sources; repeat a key for any of its values."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="before: sessions in this process's memory only.")] = Mode.after,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a turn.")] = False,
    agent: Annotated[bool, typer.Option("--agent", help="Talk with an agent, in the same sessions.")] = False,
    tool: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE:NAME", help="Function that the agent may call; repeat for more."),
    ] = None,
    retrieval: Annotated[
        Retrieval | None,
        typer.Option(
            help="tool: the agent decides when to search; context: a search before each answer; off: no index. "
            "Default: tool; for local models, context."
        ),
    ] = None,
) -> None:
    """Talk with your documents: interactively, one question, questions from a pipe, or a scripted conversation.

    Examples:
        rag-chain chat                                       # interactive; /help lists the commands

        rag-chain chat --ask "How long is a session kept?" --json

        rag-chain chat --session s1 < questions.txt          # one question a line

        rag-chain chat --access staff --filter year=2026     # open and staff documents of 2026

        rag-chain chat --script mine.yaml                    # exit code 1: an answer is not as expected

        rag-chain chat --agent --tool my_tools:clock         # an agent that searches and calls your function

    Exit code: 0 answered, 1 the work failed, 2 wrong usage, 130 interrupted.
    """
    if question is not None and script is not None:
        raise typer.BadParameter("--ask and --script exclude each other")
    if not agent and (tool or retrieval is not None):
        raise typer.BadParameter("--tool and --retrieval need --agent")
    chosen: dict[str, Any] = {}
    if redis_url is not None:
        chosen["redis_url"] = redis_url
    if index_dir is not None:
        chosen |= {"index_dir": index_dir, "index_url": None}
    if no_redis or mode is Mode.before:
        chosen["redis_url"] = ""
    if mode is Mode.before:
        chosen["journal_path"] = None
    reading = {"access": access or [], "filter": read_filter(filter or [])}
    with exit_codes():
        opening = partial(_open_backend, chosen, agent=agent, tools=tool or [], retrieval=retrieval)
        raise typer.Exit(_hold(opening, question, script, session or uuid4().hex, user, as_json, reading))


def read_filter(pairs: list[str]) -> dict[str, list[Any]] | None:
    """Return the filter that ``KEY=VALUE`` options describe; a value that is a number or a boolean matches as both.

    Raises:
        typer.BadParameter: one has no key or no ``=``.
    """
    found: dict[str, list[Any]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"--filter {pair!r} must be KEY=VALUE, such as year=2026")
        found.setdefault(key, []).append(value)
        with suppress(ValueError):
            other = json.loads(value)
            if isinstance(other, int | float):
                found[key].append(other)
    return found or None


def _open_backend(chosen: dict[str, Any], *, agent: bool, tools: list[str], retrieval: Retrieval | None) -> Backend:
    """Build the chain or the agent."""
    from rag_chain import Settings, build_chain

    settings = Settings(**chosen)
    if agent:
        from rag_chain.cli.agent import open_agent

        return open_agent(settings, retrieval, tools)
    from rag_chain.cli.turns import ChainBackend

    return ChainBackend(build_chain(settings))


def _hold(
    opening: Callable[[], Backend],
    question: str | None,
    script: Path | None,
    session: str,
    user: str | None,
    as_json: bool,
    reading: dict[str, Any],
) -> int:
    """Hold the conversation and return the exit code."""
    from dotenv import load_dotenv

    from rag_chain.cli.chat_script import load
    from rag_chain.cli.conversation import Conversation, answer_all, answer_script

    load_dotenv()
    loaded = load(script) if script else None
    with closing(opening()) as backend:
        if loaded is not None:
            return answer_script(backend, loaded, as_json, reading)
        if question is not None:
            return answer_all(backend, [question], session, user, as_json, reading)
        if not sys.stdin.isatty():
            lines = (line.strip() for line in sys.stdin)
            return answer_all(backend, (line for line in lines if line), session, user, as_json, reading)
        return Conversation(backend, session, user, as_json, reading).hold()
