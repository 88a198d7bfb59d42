"""Scripted conversations: a YAML file of sessions, turns and what to expect of each answer.

::

    sessions:
      - session: support-1            # optional: an id; else a new one
        user: ada                     # optional
        turns:
          - ask: How long is a session kept?
            expect:                   # optional, each line of it too
              contains: ["3600"]      # all of these; upper and lower case are the same
              contains_any: [one hour, 3600]
              cites: configuration.md # the end or a part of a cited source's path
              refuses: false          # the answer cites nothing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rag_chain.errors import UsageError


class Expectation(BaseModel):
    """What is required of an answer; a field without a value is not checked."""

    model_config = ConfigDict(extra="forbid")

    contains: list[str] = Field(default_factory=list)
    contains_any: list[str] = Field(default_factory=list)
    cites: str | None = None
    refuses: bool | None = None


class Turn(BaseModel):
    """A question, and what is expected of its answer."""

    model_config = ConfigDict(extra="forbid")

    ask: str
    expect: Expectation = Field(default_factory=Expectation)


class Session(BaseModel):
    """The turns of one session, in order."""

    model_config = ConfigDict(extra="forbid")

    session: str = Field(default_factory=lambda: f"script-{uuid4().hex[:12]}")
    user: str | None = None
    turns: list[Turn] = Field(min_length=1)


class Script(BaseModel):
    """A whole chat script."""

    model_config = ConfigDict(extra="forbid")

    sessions: list[Session] = Field(min_length=1)


def load(path: Path) -> Script:
    """Read a chat script.

    Raises:
        UsageError: the file is missing, not YAML, or not a chat script; the message names the place in it.
    """
    try:
        return Script.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"The chat script {path} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"The chat script {path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the top"
        raise UsageError(f"The chat script {path} is wrong at {place}: {first['msg']}.") from error


def run(
    script: Script, ask: Callable[[str, str, str | None], dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Hold the conversations.

    Args:
        script: a loaded script.
        ask: (question, session id, user id) -> the turn, as ``rag-chain chat --json`` prints it.

    Yields:
        Each turn and the expectations that it does not meet, as sentences.
    """
    for session in script.sessions:
        for turn in session.turns:
            result = ask(turn.ask, session.session, session.user)
            yield result, list(failures(turn.expect, result))


def failures(expect: Expectation, turn: dict[str, Any]) -> Iterator[str]:
    """The expectations that a turn does not meet, as sentences."""
    answer = turn["answer"].casefold()
    for wanted in expect.contains:
        if wanted.casefold() not in answer:
            yield f"the answer does not contain {wanted!r}"
    if expect.contains_any and not any(wanted.casefold() in answer for wanted in expect.contains_any):
        yield f"the answer contains none of {expect.contains_any}"
    cited = [citation["source"] for citation in turn["citations"]]
    if expect.cites is not None and not any(expect.cites in source for source in cited):
        yield f"the answer cites {cited or 'nothing'}, not {expect.cites!r}"
    if expect.refuses is not None and expect.refuses != (not cited):
        yield "the answer cites sources, but a refusal was expected" if expect.refuses else "the answer refuses"
