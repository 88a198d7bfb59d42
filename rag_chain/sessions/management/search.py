"""Search the messages of one user's sessions; shared by sync and async methods."""

from __future__ import annotations

from rag_chain.errors import UsageError
from rag_chain.sessions.management.messages import ConversationMessage
from rag_chain.sessions.management.records import SearchHit, SearchResult
from rag_chain.sessions.management.threads import ThreadReader
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.codec import Item, note_of
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import make_ref

PAGE = 100
MAX_HITS, MAX_SESSIONS, MAX_QUERY = 1_000, 10_000, 1_000
BEFORE, AFTER = 60, 140
"""Characters of an excerpt before and after the first word."""


class SearchFlows:
    """The flow of the manager's search."""

    def __init__(self, sessions: Sessions) -> None:
        self._prefix = sessions.prefix
        self._engine = sessions.engine
        self._threads = ThreadReader(sessions)

    def search(self, query: str, user_id: str | None, limit: int, max_sessions: int) -> Flow[SearchResult]:
        """See ``RedisSessionManager.search_messages``."""
        words = query[: MAX_QUERY + 1].casefold().split()
        if not words or len(query) > MAX_QUERY:
            raise UsageError(f"The query needs one word or more, and {MAX_QUERY} characters at most.")
        if not 1 <= limit <= MAX_HITS or not 1 <= max_sessions <= MAX_SESSIONS:
            raise UsageError(f"limit is 1 to {MAX_HITS} messages, max_sessions 1 to {MAX_SESSIONS} sessions.")
        hits: list[SearchHit] = []
        searched, before = 0, None
        while True:
            wanted = min(PAGE, max_sessions - searched + 1)
            page = yield from self._engine.list_page(self._prefix, user_id, before, wanted)
            for session_id, _ in page:
                if searched == max_sessions or len(hits) > limit:
                    return SearchResult(hits[:limit], searched, complete=False)
                ref = make_ref(self._prefix, session_id, user_id)
                state = yield from self._engine.inspect_known(ref, -1)
                state = yield from self._threads.complete_readable(ref, state)
                searched += 1
                hits += [hit for item in state.items if (hit := _match(session_id, item, words)) is not None]
            if len(page) < wanted:
                is_all = len(hits) <= limit and self._engine.knows_all_sessions()
                return SearchResult(hits[:limit], searched, complete=is_all)
            before = (page[-1][1], page[-1][0])


def _match(session_id: str, item: Item, words: list[str]) -> SearchHit | None:
    """Return the hit if a message contains every word."""
    message = item.message
    if message is None:
        return None
    text = message.text
    folded = text.casefold()
    if not all(word in folded for word in words):
        return None
    turn_id, shown = note_of(message).get("turn_id"), ConversationMessage.from_langchain(message)
    return SearchHit(
        session_id=session_id,
        turn_id=turn_id if isinstance(turn_id, str) else None,
        role=shown.role,
        timestamp=shown.timestamp,
        excerpt=_excerpt(text, folded.find(words[0])),
    )


def _excerpt(text: str, at: int) -> str:
    start, end = max(0, at - BEFORE), at + AFTER
    words = " ".join(text[start:end].split())
    return f"{'…' if start else ''}{words}{'…' if end < len(text) else ''}"
