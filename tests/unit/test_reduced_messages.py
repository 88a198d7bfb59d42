"""What is stored of a message that can't be stored whole, and what is refused when it is added."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from pydantic import BaseModel

from rag_chain.errors import UsageError
from rag_chain.sessions.values.codec import Item, note_of, with_note
from rag_chain.sessions.values.reduction import CUT_OFF, reduced

LIMIT = 10_000


class Alert(BaseMessage):
    """A message of a class that LangChain can't read back."""

    type: Literal["alert"] = "alert"


class Raw(BaseModel):
    data: bytes = b"\xff"


def circle() -> dict[str, Any]:
    value: dict[str, Any] = {"name": "ring"}
    value["self"] = value
    return value


def stored(message: BaseMessage, limit: int = LIMIT) -> tuple[BaseMessage, list[str]]:
    """What is read back, and the marks of what was left out, which stand in the note."""
    item = reduced(message, limit)
    assert len(item.raw) <= limit
    read = Item(item.raw).message
    assert read is not None
    assert read == item.message
    assert note_of(read).get("left_out", []) == list(item.left_out)
    return read, list(item.left_out)


def test_a_message_that_can_be_stored_is_stored_as_it_is() -> None:
    message = with_note(AIMessage("a", response_metadata={"model": "m"}), turn_id="t", status="complete")
    item = reduced(message, LIMIT)
    assert (item.raw, item.left_out) == (Item.of(message).raw, ())


@pytest.mark.parametrize(
    "value",
    [b"\x00\x01", {1, 2}, object(), Raw(), circle(), 10**5000, [b"x", {"deep": [b"y"]}]],
    ids=["bytes", "set", "object", "model", "circle", "huge", "nested"],
)
def test_values_that_json_has_no_form_for_are_left_out(value: Any) -> None:
    message = AIMessage("the answer", additional_kwargs={"odd": value, "kept": 1}, response_metadata={"model": "m"})
    read, left_out = stored(with_note(message, turn_id="t", status="complete"))
    assert read.content == "the answer"
    assert read.additional_kwargs["kept"] == 1
    assert read.response_metadata == {"model": "m"}
    assert note_of(read)["turn_id"] == "t"
    assert left_out
    assert all(each.startswith("additional_kwargs.odd") for each in left_out)


def test_a_large_image_gives_way_to_a_text() -> None:
    image = {"type": "image", "base64": "A" * 1_500_000, "mime_type": "image/png"}
    small = {"type": "image", "base64": "A" * 100, "mime_type": "image/png"}
    read, left_out = stored(AIMessage([{"type": "text", "text": "see"}, image, small]))
    assert read.content[0] == {"type": "text", "text": "see"}
    assert "RAG_MAX_MESSAGE_BYTES" in read.content[1]["text"]
    assert read.content[2] == small, "only what does not fit is left out"
    assert left_out == ["content[1] image (1,500,052 bytes)"]


def test_the_largest_metadata_goes_first_and_the_text_last() -> None:
    metadata = {"logprobs": ["x" * 100] * 200, "model_name": "m"}
    message = with_note(AIMessage("a" * 5000, response_metadata=metadata), turn_id="t", status="complete", citations=[])
    read, left_out = stored(message)
    assert read.content == "a" * 5000
    assert read.response_metadata == {"model_name": "m"}
    assert len(left_out) == 1


@pytest.mark.parametrize("letter", ["a", "é", "\ud800", '"'])
def test_a_text_that_is_too_long_is_cut(letter: str) -> None:
    message = with_note(AIMessage(letter * LIMIT), turn_id="t", status="complete", citations=["c" * LIMIT])
    read, left_out = stored(message)
    text = str(read.content)
    assert text.endswith(CUT_OFF)
    assert set(text.removesuffix(CUT_OFF)) == {letter}
    assert len(reduced(message, LIMIT).raw) > LIMIT - 20, "no more is cut than must be"
    assert note_of(read)["turn_id"] == "t"
    assert "the end of the text" in left_out


def test_a_message_of_another_class_is_stored_as_an_answer() -> None:
    read, left_out = stored(with_note(Alert(content="fire"), turn_id="t"))
    assert (type(read), read.content, note_of(read)["turn_id"]) == (AIMessage, "fire", "t")
    assert "alert" in left_out[0]


def test_fields_that_can_not_be_read_back_leave_the_text() -> None:
    broken = AIMessage.model_construct(content="a", usage_metadata={"input_tokens": "many"}, additional_kwargs={})
    read, left_out = stored(broken)
    assert read.content == "a"
    assert left_out


def test_only_some_parts_are_named() -> None:
    message = AIMessage("a", additional_kwargs={f"k{number}": b"x" for number in range(100)})
    _, left_out = stored(message)
    assert len(left_out) == 21
    assert left_out[-1] == "80 more"


SCALARS = st.one_of(
    st.none(),
    st.binary(),
    st.text(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(),
    st.sets(st.integers()),
)
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)))


@given(VALUES, st.text(max_size=50))
def test_something_of_every_answer_can_be_stored(value: Any, text: str) -> None:
    message = with_note(AIMessage(text, additional_kwargs={"x": value}), turn_id="t", status="complete")
    read, _ = stored(message, 4000)
    assert read.content == text or CUT_OFF in read.content
    assert note_of(read)["turn_id"] == "t"


class OddChunk(AIMessageChunk):
    """A chunk of a program's own."""


def test_a_message_that_can_not_be_read_back_is_refused() -> None:
    with pytest.raises(UsageError, match=r"class Alert can't be stored.*'alert'"):
        Item.of(Alert(content="a"))
    with pytest.raises(UsageError, match="read its type 'ai' or its fields back"):
        Item.of(AIMessage.model_construct(content=[], tool_calls=[{"name": 5}]))
    assert type(Item(Item.of(OddChunk(content="x")).raw).message) is AIMessage


def test_the_limit_is_the_callers() -> None:
    with pytest.raises(UsageError, match=r"larger than the limit of 100; .*RAG_MAX_MESSAGE_BYTES"):
        Item.of(HumanMessage("x"), 100)
    assert Item.of(HumanMessage("x" * 2_000_000), 3_000_000).message is not None
