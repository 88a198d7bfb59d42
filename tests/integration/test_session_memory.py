"""What this process holds of a session never outlives the session itself."""

from langchain_core.messages import AIMessage, HumanMessage

from rag_chain.sessions import open_sessions
from rag_chain.settings import Settings


def test_a_session_that_expired_is_not_brought_back_from_memory(redis_url: str) -> None:
    sessions = open_sessions(Settings(redis_url=redis_url, journal_path=None, session_ttl=1))
    ref = sessions.ref("s")
    for _ in range(4):
        turn = sessions.begin(ref, HumanMessage("q"))
        sessions.commit(turn, AIMessage("a"), "complete")
        while sessions.redis_client.exists(ref.messages_key):
            pass  # until the very moment at which the server lets it go
        assert sessions.read(ref).items == []
    sessions.close()
