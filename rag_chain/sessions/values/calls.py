"""Tool calls and their results: a model gets only complete pairs.

An agent that was stopped between a call and its result, or a window that begins between the two, leaves one without the
other. Providers answer such a request with status 400, and every later request of the session too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, FunctionMessage, ToolMessage

from rag_chain.sessions.values.codec import has_calls

_CALL_BLOCKS = frozenset({"tool_use", "tool_call", "function_call", "invalid_tool_call", "tool_call_chunk"})
_THOUGHT_BLOCKS = frozenset({"reasoning", "thinking", "redacted_thinking"})
"""Blocks that OpenAI and Anthropic refuse without the call that they led to."""


def is_result(message: BaseMessage) -> bool:
    """Whether a message is the result of a tool call."""
    return isinstance(message, ToolMessage | FunctionMessage)


def without_open_calls(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages without calls that have no result, and without results that have no call.

    A result counts if it follows the message with its call, with only other results between them. An answer without
    any content left is dropped.
    """
    kept: list[BaseMessage] = []
    at = 0
    while at < len(messages):
        message, start = messages[at], at + 1
        at = start
        if is_result(message):
            continue  # its call is missing
        while at < len(messages) and is_result(messages[at]):
            at += 1
        if isinstance(message, AIMessage) and (has_calls(message) or _block_ids(message)):
            kept += _matched(message, messages[start:at])
        else:
            kept.append(message)
    return kept


def _matched(message: AIMessage, results: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return a message with only its calls that have a result, and these results, one for each call."""
    calls = _call_ids(message)
    by_id: dict[str, BaseMessage] = {}
    for result in results:
        if isinstance(result, ToolMessage) and result.tool_call_id in calls:
            by_id.setdefault(result.tool_call_id, result)
    function = message.additional_kwargs.get("function_call")
    function_result = next(
        (
            each
            for each in results
            if isinstance(each, FunctionMessage) and isinstance(function, dict) and each.name == function.get("name")
        ),
        None,
    )
    reduced = _with_calls(message, by_id.keys(), has_function=function_result is not None)
    if reduced is None:
        return []
    return [reduced, *by_id.values(), *([function_result] if function_result is not None else [])]


def _with_calls(message: AIMessage, ids: Iterable[str], *, has_function: bool) -> AIMessage | None:
    """Return the message with only these calls; ``None`` if it is then empty."""
    wanted = set(ids)
    kwargs = dict(message.additional_kwargs)
    if not has_function:
        kwargs.pop("function_call", None)
    if isinstance(kwargs.get("tool_calls"), list):
        raw_calls = _first_of_each(kwargs["tool_calls"], wanted)
        kwargs = {**kwargs, "tool_calls": raw_calls}
        if not raw_calls:
            del kwargs["tool_calls"]
    content = message.content
    if isinstance(content, list):
        dropped = _THOUGHT_BLOCKS if not wanted and not has_function else frozenset[str]()
        content = [block for block in content if _stays(block, wanted, dropped)]
    calls = _first_of_each(message.tool_calls, wanted)
    invalid = _first_of_each(message.invalid_tool_calls, wanted - {call["id"] for call in calls})
    if not content and not calls and not invalid and "tool_calls" not in kwargs and not has_function:
        return None
    changes = {"content": content, "tool_calls": calls, "invalid_tool_calls": invalid, "additional_kwargs": kwargs}
    return message.model_copy(update=changes)


def _stays(block: str | dict[str, Any], wanted: set[str], dropped: frozenset[str]) -> bool:
    if not isinstance(block, dict):
        return True
    if block.get("type") in _CALL_BLOCKS:
        return _block_id(block) in wanted
    return block.get("type") not in dropped


def _first_of_each(calls: Iterable[Any], wanted: set[str]) -> list[Any]:
    found: dict[str, Any] = {}
    for call in calls:
        if isinstance(call, dict) and call.get("id") in wanted:
            found.setdefault(call["id"], call)
    return list(found.values())


def _call_ids(message: AIMessage) -> set[str]:
    raw = message.additional_kwargs.get("tool_calls")
    calls: list[Any] = [*message.tool_calls, *message.invalid_tool_calls, *(raw if isinstance(raw, list) else ())]
    found = {call.get("id") for call in calls if isinstance(call, dict)} | _block_ids(message)
    return {each for each in found if isinstance(each, str) and each}


def _block_ids(message: AIMessage) -> set[str]:
    blocks = message.content if isinstance(message.content, list) else ()
    found = {_block_id(block) for block in blocks if isinstance(block, dict) and block.get("type") in _CALL_BLOCKS}
    return {each for each in found if each}


def _block_id(block: dict[str, Any]) -> str:
    # OpenAI's Responses API has its own ids in addition to the call's.
    return str(block.get("call_id") or block.get("id") or "")
