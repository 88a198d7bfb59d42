"""Requests made of the service's own OpenAPI document: none of them is answered with a server's failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from serving import make_folder
from starlette.testclient import TestClient

from rag_chain.serve.app import create_app
from rag_chain.settings import Settings

UNAVAILABLE = 503


@schemathesis.serializer("application/x-ndjson")
def to_lines(context: Any, value: Any) -> bytes:
    return str(value).encode(errors="surrogatepass")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = make_folder(tmp_path_factory.mktemp("schema"))
    app = create_app(
        Settings(
            redis_url="",
            journal_path=folder / "journal.sqlite3",
            index_dir=folder / "index",
            documents_dir=folder / "documents",
            api_keys_path=folder / "keys.json",
            chat_model="local:extractive",
            embedding_model="local:minilm",
        )
    )
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("examples", [1, pytest.param(50, marks=pytest.mark.long)])
def test_no_request_makes_the_server_fail(client: TestClient, examples: int) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 20
    modes = list(schemathesis.GenerationMode)
    for number, operation in enumerate(operations):
        # The short form sends each operation one request, right ones and wrong ones by turns.
        for mode in modes if examples > 1 else modes[number % 2 :][:1]:
            # A request without parameters can't be a wrong one.
            with suppress(Unsatisfiable):
                send_many(client, operation, mode, examples)


def send_many(client: TestClient, operation: Any, mode: schemathesis.GenerationMode, examples: int) -> None:
    """Send requests that the document allows, or such that it does not."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        sent = case.as_transport_kwargs(base_url="http://127.0.0.1")
        sent.pop("cookies", None)
        if isinstance(sent.get("data"), str | bytes):
            sent["content"] = sent.pop("data")
        if sent.get("files"):
            sent["files"] = [(name, ("made.md", str(value).encode(errors="replace"))) for name, value in sent["files"]]
        answer = client.request(**sent)
        assert answer.status_code < 500 or answer.status_code == UNAVAILABLE, (sent, answer.text)
        if answer.status_code >= 400:
            assert answer.json()["error"]["message"]

    check()
