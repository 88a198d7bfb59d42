"""Turns that replace others, and the newest turn of a session."""

from __future__ import annotations

from langchain_core.messages import BaseMessage, HumanMessage

from rag_chain.errors import HistoryError, TurnNotFoundError, UsageError
from rag_chain.sessions.engine.engine import Engine
from rag_chain.sessions.values.edits import plan_replacement, question_of
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef, check_id
from rag_chain.sessions.values.turns import Saved, SessionState, Turn, turn_not_found, turn_under_way, turn_unknown
from rag_chain.sessions.values.versions import exclude, find_turn, is_answered, turn_id_of

NEWEST = 100
"""Number of newest messages that are searched for the newest turn."""


def find_question(engine: Engine, ref: SessionRef, turn_id: object = None) -> Flow[tuple[str, BaseMessage]]:
    """Return the id and the question of a turn; by default of the newest.

    Raises:
        HistoryUnavailableError, TurnNotFoundError: as ``delete_turn``.
    """
    state = yield from engine.inspect(ref, 0, -1 if turn_id is not None else NEWEST)
    newest = next((one for item in reversed(state.items) if (one := turn_id_of(item))), None)
    wanted = newest if turn_id is None else check_id(turn_id, "turn_id")
    if wanted is None:
        raise TurnNotFoundError(f"Session {ref} has no turn among its newest {NEWEST} messages.")
    question = question_of(find_turn(state.items, wanted))
    if question is None:
        raise _missing(engine, ref, wanted, state)
    return wanted, question


def delete_turn(engine: Engine, ref: SessionRef, turn_id: object = None) -> Flow[Saved]:
    """Delete a turn, see ``Engine.delete_turn``; by default the newest."""
    if turn_id is None:
        turn_id, _ = yield from find_question(engine, ref)
    return (yield from engine.delete_turn(ref, turn_id))


def begin_in_place(
    engine: Engine, ref: SessionRef, replaced: object, question: BaseMessage | None = None, turn_id: object = None
) -> Flow[Turn]:
    """Begin a turn that replaces another one and all later turns, once it is answered.

    The chain gets the history before that turn. Until the new turn is committed the session is unchanged. If the new
    turn gets no answer, nothing is replaced: its question is then stored after the others.

    Args:
        ref: the session.
        replaced: id of the turn to replace.
        question: the new question; ``None``, or the same text: another answer to the same question, which keeps
            the former answers in the note of the message (``former``).
        turn_id: of the new turn; default: a new one.

    Raises:
        HistoryUnavailableError: the server is away, and the turn is not known here.
        SessionBusyError: the turn to replace is being answered.
        TurnNotFoundError: there is no such turn.
        InvalidQuestionError: as ``begin``.
    """
    old = check_id(replaced, "turn_id")
    window = yield from engine.read(ref)
    if any(one.turn_id == old for one in window.pending):
        raise turn_under_way(ref, old)
    state = yield from engine.inspect(ref, 0, -1)
    stored = find_turn(state.items, old)
    own = find_turn(state.items, turn_id) if isinstance(turn_id, str) else []
    if not stored and is_answered(own):
        # It was committed before, but the reply was lost.
        return (yield from engine.begin(ref, question or question_of(own) or HumanMessage(""), turn_id))
    if not stored:
        raise _missing(engine, ref, old, state)
    if turn_id == old:
        raise UsageError("A turn can't replace itself: leave turn_id out, or choose another one.")
    question = question or question_of(stored)
    if question is None:
        raise TurnNotFoundError(f"Turn {old!r} of session {ref} has no question any more; ask a new one.")
    # The commit of the new turn removes its earlier attempt from the session.
    items = exclude(state.items, own)
    place, first = plan_replacement(items, old, question)
    turn = yield from engine.begin(ref, question, turn_id)
    turn.replacement = place
    size = len(turn.window.items)
    turn.window.items = items[max(0, first - size) : first]
    if turn.window.summary is not None and turn.window.summary.covers > state.dropped + first:
        turn.window.summary = None  # it covers turns that are replaced
    return turn


def _missing(engine: Engine, ref: SessionRef, turn_id: str, state: SessionState) -> HistoryError:
    """Return the error for a turn that is not among the messages of a session."""
    return turn_not_found(ref, turn_id) if state.store == "redis" or engine.alone else turn_unknown(ref, turn_id)
