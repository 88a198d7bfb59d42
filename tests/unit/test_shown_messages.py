"""What a chain is shown is always what a provider accepts, whatever is stored and wherever the window begins."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from rag_chain.sessions.values.codec import Item, with_note
from rag_chain.sessions.values.window import FAILED, UNANSWERED, shown, shown_of

CALL_BLOCKS = ("tool_use", "tool_call", "function_call")


def calls_of(message: BaseMessage) -> list[str]:
    """Ids of all tool calls that a provider would be sent, in whichever form."""
    if not isinstance(message, AIMessage):
        return []
    raw = message.additional_kwargs.get("tool_calls") or []
    blocks = message.content if isinstance(message.content, list) else []
    in_blocks = [b["id"] for b in blocks if isinstance(b, dict) and b.get("type") in CALL_BLOCKS]
    ids = [call["id"] for call in [*message.tool_calls, *message.invalid_tool_calls]]
    return list(dict.fromkeys([*ids, *(call["id"] for call in raw), *in_blocks]))


def refusal_of(messages: list[BaseMessage]) -> str:
    """What a strict provider would say of a history before the next question; empty if it is accepted."""
    if any(message.type == "system" for message in messages[len(leading_system(messages)) :]):
        return "a system message after others"
    conversation = messages[len(leading_system(messages)) :]
    waiting: list[str] = []
    for message in conversation:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                return f"a result without its call: {message.tool_call_id}"
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            return f"calls without results: {waiting}"
        waiting = calls_of(message)
        if not message.content and not waiting and "function_call" not in message.additional_kwargs:
            return f"an empty {message.type} message"
    if waiting:
        return f"calls without results: {waiting}"
    types = [message.type for message in conversation]
    if types[:1] not in ([], ["human"]) or types[-1:] not in ([], ["ai"]):
        return f"roles: {types}"
    for first, second in pairwise(types):
        if first == second and first != "tool":
            return f"two {first} messages in a row"
        if (first, second) in (("tool", "human"), ("human", "tool")):
            return f"{second} after {first}"
    return ""


def leading_system(messages: list[BaseMessage]) -> list[BaseMessage]:
    found: list[BaseMessage] = []
    for message in messages:
        if message.type != "system":
            break
        found.append(message)
    return found


def call(*ids: str, text: str = "", **fields: Any) -> AIMessage:
    return AIMessage(text, tool_calls=[{"name": "search", "args": {}, "id": each} for each in ids], **fields)


def result(call_id: str) -> ToolMessage:
    return ToolMessage(f"result of {call_id}", tool_call_id=call_id)


def raw_call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "search", "arguments": "{}"}}


IDS = st.sampled_from(["c1", "c2", "c3"])
MESSAGES = st.one_of(
    st.sampled_from(
        [
            HumanMessage("q"), HumanMessage(""), AIMessage("a"), AIMessage(" "), SystemMessage("be brief"),
            RemoveMessage(id="x"), ChatMessage("hi", role="user"), ChatMessage("ho", role="assistant"),
            with_note(AIMessage("half"), status="interrupted"), with_note(HumanMessage("q"), status="failed"),
            HumanMessage([{"type": "image_url", "image_url": {"url": "data:,x"}}]),
        ]
    ),
    st.lists(IDS, max_size=3).map(lambda ids: call(*ids)),
    st.lists(IDS, min_size=1, max_size=2).map(lambda ids: call(*ids, text="let me see")),
    IDS.map(lambda each: AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{", "id": each, "error": None}])),
    IDS.map(lambda each: AIMessage.model_construct(content="", additional_kwargs={"tool_calls": [raw_call(each)]})),
    IDS.map(lambda each: AIMessage([{"type": "text", "text": "hm"}, {"type": "tool_use", "id": each, "name": "f",
                                                                     "input": {}}])),
    IDS.map(result),
)  # fmt: skip


@given(st.lists(MESSAGES, max_size=14))
def test_a_provider_accepts_what_is_shown(messages: list[BaseMessage]) -> None:
    for start in range(len(messages)):  # a window may begin anywhere
        seen = shown(messages[start:])
        assert refusal_of(seen) == ""
        assert shown(seen) == seen
        assert shown_of([Item.of(message) for message in messages[start:]]) == seen


def test_a_complete_call_is_shown_as_it_is() -> None:
    messages = [HumanMessage("q"), call("c1", "c2"), result("c2"), result("c1"), AIMessage("a")]
    assert shown(messages) == messages


def test_a_call_without_a_result_is_not_shown() -> None:
    assert contents(shown([HumanMessage("q"), call("c1")])) == ["q", UNANSWERED]
    assert contents(shown([HumanMessage("q"), call("c1", text="let me see")])) == ["q", "let me see"]
    failed = with_note(HumanMessage("q"), status="failed")
    assert contents(shown([failed, call("c1")])) == ["q", FAILED]


def test_of_parallel_calls_those_with_results_stay() -> None:
    messages = [HumanMessage("q"), call("c1", "c2", "c3"), result("c2"), HumanMessage("next"), AIMessage("a")]
    seen = shown(messages)
    assert [m.type for m in seen] == ["human", "ai", "tool", "ai", "human", "ai"]
    assert calls_of(seen[1]) == ["c2"]
    assert seen[3].content == UNANSWERED


def test_a_result_counts_only_directly_after_its_call() -> None:
    messages = [HumanMessage("q"), call("c1"), HumanMessage("stop"), result("c1"), AIMessage("a")]
    assert contents(shown(messages)) == ["q", UNANSWERED, "stop", "a"]
    assert contents(shown([result("c1"), AIMessage("a"), HumanMessage("q"), AIMessage("b")])) == ["q", "b"]


def test_every_form_of_a_call_goes_with_it() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "wait"},
        {"type": "tool_use", "id": "c1", "name": "search", "input": {}},
    ]
    both = call("c1", additional_kwargs={"tool_calls": [raw_call("c1")]}).model_copy(update={"content": blocks})
    [_, seen] = shown([HumanMessage("q"), both])
    assert seen.content == [{"type": "text", "text": "wait"}]
    assert calls_of(seen) == []
    assert seen.additional_kwargs.get("tool_calls") is None
    assert shown([HumanMessage("q"), both, result("c1"), AIMessage("a")])[1] == both


def test_a_function_call_needs_its_result() -> None:
    asks = AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}})
    told = FunctionMessage("42", name="f")
    assert contents(shown([HumanMessage("q"), asks])) == ["q", UNANSWERED]
    assert contents(shown([HumanMessage("q"), told])) == ["q", UNANSWERED]
    whole = [HumanMessage("q"), asks, told, AIMessage("a")]
    assert shown(whole) == whole


def test_answers_in_a_row_are_joined_and_system_messages_come_first() -> None:
    messages = [
        HumanMessage("q"),
        AIMessage("a"),
        SystemMessage("be brief"),
        AIMessage([{"type": "text", "text": "b"}]),
    ]
    assert contents(shown(messages)) == [
        "be brief", "q", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    ]  # fmt: skip
    assert contents(shown([HumanMessage("q"), AIMessage("a"), AIMessage("b")])) == ["q", "a\n\nb"]


def test_a_chunk_with_a_call_is_stored_and_shown_as_a_message() -> None:
    chunk = AIMessageChunk("", tool_call_chunks=[{"name": "f", "args": "{}", "id": "c1", "index": 0}])
    items = [Item.of(HumanMessage("q")), Item.of(chunk)]
    assert contents(shown_of(items)) == ["q", UNANSWERED]
    assert shown_of([*items, Item.of(result("c1"))])[1].type == "ai"


@pytest.mark.parametrize("role", ["user", "assistant", "narrator"])
def test_a_chat_message_has_the_class_of_its_role(role: str) -> None:
    messages = [HumanMessage("q"), AIMessage("a"), ChatMessage("x", role=role)]
    assert shown(messages)[-1].type == "ai"


def contents(messages: list[BaseMessage]) -> list[Any]:
    return [message.content for message in messages]
