"""Graphs for the tests of the checkpointer."""

from __future__ import annotations

from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict


def answer(state: Any) -> dict[str, Any]:
    """Answer with the number of messages and the question."""
    return {"messages": [AIMessage(f"{len(state['messages'])}: {state['messages'][-1].content}")]}


def answering_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    """A graph of one node, which answers."""
    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def add_all(state: Any, writes: list[Any]) -> Any:
    """Add all writes of one step."""
    for one in writes:
        state = add_messages(state or [], one)
    return state or []


class DeltaState(TypedDict):
    """Messages that LangGraph stores as what was added."""

    messages: Annotated[list[AnyMessage], DeltaChannel(add_all, snapshot_frequency=5)]


def delta_graph(saver: BaseCheckpointSaver[Any]) -> Any:
    """A graph whose messages are rebuilt from the writes of older checkpoints."""
    graph = StateGraph(DeltaState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=saver)


def thread(thread_id: str = "t1", **more: Any) -> dict[str, Any]:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread_id, **more}}


def ask(graph: Any, text: str, thread_id: str = "t1", **more: Any) -> list[str]:
    """Ask a question and return the texts of all messages."""
    state = graph.invoke({"messages": [HumanMessage(text)]}, thread(thread_id, **more))
    return [message.content for message in state["messages"]]
