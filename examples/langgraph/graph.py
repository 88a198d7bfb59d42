"""A graph for LangGraph's server whose one node answers from the documents.

rag-chain ingest docs
pip install 'langgraph-cli[inmem]' 'rag_chain[local]' && langgraph dev      # in this folder
"""

from __future__ import annotations

from functools import cache
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

from rag_chain import build_chain


@cache
def open_chain() -> Any:
    """The chain, built at the first question."""
    return build_chain()


def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """Answer the last message, in the session that has the thread's id."""
    thread = config.get("configurable", {}).get("thread_id", "langgraph")
    question = state["messages"][-1].text
    given = open_chain().invoke({"input": question}, {"configurable": {"session_id": str(thread)}})
    sources = [one.model_dump() for one in given["citations"]]
    return {"messages": [AIMessage(given["answer"], additional_kwargs={"citations": sources})]}


graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END).compile()
