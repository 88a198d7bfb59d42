"""What the tests of sessions share: a chain that needs no model, readers that are not ours, and waiting."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import AddableDict, RunnableConfig, RunnableGenerator

from rag_chain.conversation import ConversationChain
from rag_chain.sessions import SessionHistory, Sessions
from rag_chain.sessions.opening import _compose
from rag_chain.settings import Settings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="`langchain-community` is being sunset", category=DeprecationWarning)
    from langchain_community.chat_message_histories import RedisChatMessageHistory as StockHistory


class ModelFailedError(Exception):
    """What a model raises."""


def answer(question: str) -> Iterator[AddableDict]:
    """The chunks of the answer to a question: ``re: question``. The question ``fail`` raises half way."""
    yield AddableDict(standalone_question=question)
    yield AddableDict(answer="re: ")
    if question == "fail":
        raise ModelFailedError("the key is secret-1234")
    yield AddableDict(answer=question)
    yield AddableDict(citations=[{"number": 1, "source": "a.md"}])


def _stream(inputs: Iterator[dict[str, Any]]) -> Iterator[AddableDict]:
    for one in inputs:
        yield from answer(one["input"])


async def _astream(inputs: AsyncIterator[dict[str, Any]]) -> AsyncIterator[AddableDict]:
    async for one in inputs:
        for chunk in answer(one["input"]):
            yield chunk


def echo_chain(sessions: Sessions) -> ConversationChain:
    return ConversationChain(RunnableGenerator(_stream, _astream), sessions)


def config(session_id: str = "s1", **ids: str) -> RunnableConfig:
    return {"configurable": {"session_id": session_id, **ids}}


def another_process(settings: Settings) -> Sessions:
    """Sessions that share nothing in memory with others of the same settings; close them."""
    return Sessions(_compose(settings))


def say(sessions: Sessions, *questions: str, session_id: str = "s1") -> list[str]:
    """Whole turns of ``echo_chain``; how each was kept."""
    chain = echo_chain(sessions)
    return [chain.invoke({"input": question}, config(session_id))["persistence"] for question in questions]


def messages(sessions: Sessions, session_id: str = "s1") -> list[Any]:
    """All of a session, as this process sees it."""
    return contents(SessionHistory(sessions, sessions.ref(session_id)).all_messages())


def stock(url: str, session_id: str = "s1", key_prefix: str = "message_store:") -> list[BaseMessage]:
    """A session as langchain-community's own class reads it."""
    history = StockHistory(session_id, url=url, key_prefix=key_prefix)
    try:
        return history.messages
    finally:
        history.redis_client.close()


def contents(messages: list[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]


def turns(*questions: str) -> list[str]:
    """The contents of whole turns of the echo chain."""
    return [text for question in questions for text in (question, f"re: {question}")]


def until(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait for a condition; its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def is_back(sessions: Sessions) -> bool:
    server = sessions.engine._server
    return server is not None and server.breaker is not None and bool(server.breaker.closed)


def journal_rows(path: Path) -> int:
    """Entries in a journal that are no pending questions."""
    import sqlite3

    with sqlite3.connect(path) as db:
        found = db.execute("SELECT count(*) FROM entries WHERE kind != 'pending'").fetchone()[0]
    db.close()
    return int(found)
