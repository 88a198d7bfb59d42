"""A chat in Streamlit. The session's id is in the address, so that a reload shows the conversation again.

rag-chain ingest docs
pip install streamlit 'rag_chain[local]' && streamlit run app.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import streamlit as st

from rag_chain import RedisSessionManager, build_chain


@st.cache_resource
def open_chain() -> Any:
    """One chain for all readers."""
    return build_chain()


@st.cache_resource
def open_manager() -> RedisSessionManager:
    """The sessions of the same settings."""
    return RedisSessionManager()


session = st.query_params.setdefault("session", uuid4().hex)
st.title("Documents")
for message in open_manager().get_conversation_history(session):
    st.chat_message(message.role).write(message.content)

if question := st.chat_input("Ask about the documents"):
    st.chat_message("user").write(question)
    citations: list[Any] = []

    def read_answer() -> Iterator[str]:
        """Yield the answer as it comes, and note what it cites."""
        config: Any = {"configurable": {"session_id": session}}
        for part in open_chain().stream({"input": question}, config):
            citations.extend(part.get("citations") or [])
            yield part.get("answer") or ""

    with st.chat_message("assistant"):
        st.write_stream(read_answer)
        for one in citations:
            st.caption(f"[{one.number}] {one.source}, {one.position}")
