"""What the composition root does with the parts that it is handed."""

from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig

from rag_chain import Settings, build_chain
from rag_chain.conversation import ConversationChain
from rag_chain.errors import InvalidQuestionError
from rag_chain.retrieval.index import HybridIndex

CALL: RunnableConfig = {"configurable": {"session_id": "s"}}


@pytest.fixture
def chain(tmp_path: Path) -> ConversationChain:
    index = HybridIndex.create(tmp_path / "empty", DeterministicFakeEmbedding(size=4), embedding_model="fake:four")
    settings = Settings(redis_url="", journal_path=None, index_dir=tmp_path / "none", chat_model="local:extractive")
    return build_chain(settings, index=index)


def test_an_index_without_chunks_is_used_as_it_is(chain: ConversationChain) -> None:
    out = chain.invoke({"input": "q?"}, CALL)
    assert (out["context"], out["citations"]) == ([], [])


@pytest.mark.parametrize(
    "question",
    ["x" * 10_001, "half \ud83d", HumanMessage([{"type": "image_url", "image_url": {"url": "data:,x"}}])],
    ids=["long", "half", "image"],
)
async def test_a_question_that_cannot_be_searched_for_begins_no_turn(
    chain: ConversationChain, question: str | HumanMessage
) -> None:
    refused: RunnableConfig = {"configurable": {"session_id": "refused"}}
    with pytest.raises(InvalidQuestionError):
        chain.invoke({"input": question}, refused)
    with pytest.raises(InvalidQuestionError):
        async for _ in chain.astream({"input": question}, refused):
            pass
    assert await chain.history("refused").aget_messages() == []
