"""The server of the Model Context Protocol, asked by the official client."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from rag_chain import Settings, ingest
from rag_chain.errors import IndexNotFoundError
from rag_chain.mcp.library import uri_of
from rag_chain.mcp.server import make_server


@pytest.fixture(scope="module")
def index_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mcp")
    docs = root / "docs"
    docs.mkdir()
    (docs / "depth of #1?.md").write_text("# Sea\n\nThe sea is up to 11 kilometres deep. It is salty.\n")
    (docs / "pay.md").write_text("---\naccess: [board]\n---\n# Pay\n\nThe board is paid in shells.\n")
    report = ingest([docs], settings(root / "index"), progress=False)
    assert report.added == 2
    return root / "index"


def settings(index: Path, **values: Any) -> Settings:
    return Settings(
        index_dir=index, embedding_model="local:minilm", **({"redis_url": "", "journal_path": None} | values)
    )


def payload(result: Any) -> Any:
    assert not result.is_error, result.content
    return result.structured_content


async def test_a_client_searches_asks_and_lists(index_dir: Path) -> None:
    async with Client(make_server(settings(index_dir))) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "ask", "list_sources"}
        [passage] = payload(await client.call_tool("search", {"query": "How deep is the sea?", "k": 5}))["result"]
        assert passage["source"].endswith("depth of #1?.md")
        assert "11 kilometres" in passage["text"]
        [source] = payload(await client.call_tool("list_sources", {}))["result"]
        assert (source["source"], source["passages"], source["omissions"]) == (passage["source"], 1, [])
        text = (await client.read_resource(source["uri"])).contents[0].text
        assert "It is salty." in text

        answer = payload(await client.call_tool("ask", {"question": "How deep is the sea?"}))
        assert "11 kilometres" in answer["answer"]
        assert answer["citations"][0]["source"] == passage["source"]
        assert (answer["refused"], answer["persistence"]) == (False, "volatile")
        again = payload(await client.call_tool("ask", {"question": "What did I just ask?"}))
        assert "How deep is the sea?" in again["answer"]
        other = payload(await client.call_tool("ask", {"question": "What did I just ask?", "session_id": "other"}))
        assert "How deep" not in other["answer"]


async def test_what_the_client_may_not_read_is_not_there(index_dir: Path) -> None:
    question = {"query": "What is the board paid in?"}
    async with Client(make_server(settings(index_dir), ["board"])) as client:
        found = payload(await client.call_tool("search", question))["result"]
        [secret] = [passage["source"] for passage in found if "shells" in passage["text"]]
        assert "shells" in (await client.read_resource(uri_of(secret))).contents[0].text
    async with Client(make_server(settings(index_dir))) as client:
        said = [
            payload(await client.call_tool("search", question)),
            payload(await client.call_tool("list_sources", {})),
            payload(await client.call_tool("ask", {"question": "What is the board paid in?"})),
        ]
        assert "shells" not in json.dumps(said)
        assert "pay.md" not in json.dumps(said)
        with pytest.raises(MCPError, match="There is no document"):
            await client.read_resource(uri_of(secret))


@pytest.mark.parametrize(
    ("tool", "given", "message"),
    [
        ("search", {"query": " "}, "The question is empty"),
        ("search", {"query": "x", "k": 0}, "k is 0: it must be from 1 to 50"),
        ("ask", {"question": ""}, "The question is empty"),
        ("ask", {"question": "x" * 10_001}, "at most 10,000 are allowed"),
        ("ask", {"question": "x", "session_id": "a\nb"}, "session"),
        ("ask", {}, "question"),
    ],
)
async def test_a_mistake_is_told_to_the_client(index_dir: Path, tool: str, given: dict[str, Any], message: str) -> None:
    async with Client(make_server(settings(index_dir))) as client:
        result = await client.call_tool(tool, given)
        assert result.is_error
        assert message in result.content[0].text


def test_an_index_that_is_missing_is_told_before_a_client_comes(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError):
        make_server(settings(tmp_path / "none"))


async def test_the_command_keeps_its_conversation(index_dir: Path, redis_url: str) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "rag_chain.cli.main", "mcp", "--index-dir", str(index_dir), "--redis-url", redis_url,
              "--session", "desk"],
        env={"RAG_JOURNAL_PATH": "", "RAG_EMBEDDING_MODEL": "local:minilm"},
    )  # fmt: skip
    async with Client(command) as client:
        answer = payload(await client.call_tool("ask", {"question": "How deep is the sea?"}))
        assert answer["persistence"] == "durable"
    async with Client(make_server(settings(index_dir, redis_url=redis_url), session="desk")) as client:
        again = payload(await client.call_tool("ask", {"question": "What did I just ask?"}))
        assert "How deep is the sea?" in again["answer"]
