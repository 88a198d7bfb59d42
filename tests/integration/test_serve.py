"""``rag-chain serve`` as its clients see it: one real server over a real Redis, and OpenAI's own package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from faulty_server import KEY, WORDS, FaultyServer
from langchain_openai import ChatOpenAI
from prometheus_client.parser import text_string_to_metric_families
from servers import RedisServer
from serving import QUESTION, events, make_folder, run, serving
from talking import until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an index."""
    return make_folder(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def url(folder: Path, redis_server: RedisServer) -> Iterator[str]:
    with serving(folder, REDIS_URL=redis_server.url, RAG_KEY_PREFIX="serve:", RAG_SERVE_MAX_BODY_KB="100") as (url, _):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, question: str = QUESTION, **more: Any) -> Any:
    return client.chat.completions.create(model="rag_chain", messages=[{"role": "user", "content": question}], **more)


def test_the_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["rag_chain"]
    assert client.models.retrieve("rag_chain").id == "rag_chain"


def test_an_answer_without_a_session_stores_nothing(client: openai.OpenAI, url: str) -> None:
    before = httpx.get(f"{url}/sessions").json()["sessions"]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What did I just ask?"},
        {"role": "assistant", "content": "Nothing."},
        {"role": "user", "content": QUESTION},
    ]
    answer = client.chat.completions.create(model="rag_chain", messages=messages)
    assert "one hour" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    facts = answer.model_extra["rag_chain"]
    assert facts["sources"][0]["source"].endswith("sessions.md")
    assert [cited["number"] for cited in facts["citations"]] == [1]
    message = answer.choices[0].message
    places = [one.url_citation for one in message.annotations]
    assert {message.content[one.start_index : one.end_index] for one in places} == {"[1]"}
    assert {one.url for one in places} == {facts["sources"][0]["source"]}
    assert "persistence" not in facts
    assert facts["milliseconds"]["total"] > 0
    assert httpx.get(f"{url}/sessions").json()["sessions"] == before


def test_langchains_client_gets_the_answer(url: str) -> None:
    model = ChatOpenAI(model="rag_chain", base_url=f"{url}/v1", api_key="none", max_retries=0)
    assert "one hour" in model.invoke(QUESTION).text
    parts = list(model.stream(QUESTION, extra_headers={"X-Session-Id": "l1"}))
    assert "one hour" in "".join(part.text for part in parts)
    assert httpx.get(f"{url}/sessions/l1").json()["messages"] == 2
    model.root_client.close()


def test_a_streamed_answer_of_a_session_is_stored(client: openai.OpenAI, url: str) -> None:
    stream = ask(client, stream=True, stream_options={"include_usage": True}, extra_headers={"X-Session-Id": "a1"})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "one hour" in text
    facts = [chunk.model_extra["rag_chain"] for chunk in chunks if "rag_chain" in chunk.model_extra]
    first_text = next(n for n, chunk in enumerate(chunks) if chunk.choices and chunk.choices[0].delta.content)
    assert "rag_chain" in chunks[first_text - 1].model_extra  # the sources come before the text
    assert facts[-1]["persistence"] == "durable"
    last = next(chunk for chunk in reversed(chunks) if chunk.choices).choices[0].delta.model_extra["annotations"]
    first = last[0]["url_citation"]
    assert text[first["start_index"] : first["end_index"]] == "[1]"
    assert chunks[-1].choices == []
    messages = httpx.get(f"{url}/sessions/a1/messages").json()
    assert [one["content"] for one in messages["messages"]] == [QUESTION, text]
    assert messages["messages"][1]["turn_id"] == facts[-1]["turn_id"]


def test_a_retry_with_its_turn_id_is_stored_once(client: openai.OpenAI, url: str) -> None:
    ids = {"metadata": {"session_id": "a2", "turn_id": "t1"}}
    first, second = (ask(client, **ids).model_extra["rag_chain"] for _ in range(2))
    assert (first["outcome"], second["outcome"]) == ("saved", "repeated")
    assert httpx.get(f"{url}/sessions/a2").json()["messages"] == 2


def test_what_openai_refuses_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'") as found:
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "Hello"}])
    assert found.value.code == "model_not_found"
    for more in ({"n": 2}, {"tools": [{"type": "function"}]}, {"extra_headers": {"X-Session-Id": "a/b"}}):
        with pytest.raises(openai.BadRequestError):
            ask(client, **more)
    with pytest.raises(openai.BadRequestError, match="question is empty"):
        ask(client, " ", stream=True)


BODY = {"model": "rag_chain", "messages": [{"role": "user", "content": "Hi"}]}
HALF = BODY | {"messages": [{"role": "assistant", "content": "\ud800"}, *BODY["messages"]]}


@pytest.mark.parametrize(
    ("path", "content", "status", "said"),
    [
        ("/v1/chat/completions", b"{", 400, "not valid JSON"),
        ("/v1/chat/completions", b"\xff", 400, "parsing the body"),
        ("/v1/chat/completions", b"[]", 400, "body"),
        ("/v1/chat/completions", json.dumps(BODY | {"messages": []}).encode(), 400, "messages"),
        ("/v1/chat/completions", json.dumps(BODY | {"model": "\ud800"}).encode(), 404, "model"),
        ("/v1/chat/completions", json.dumps(BODY | {"metadata": {"session_id": 7}}).encode(), 400, "session_id must"),
        ("/v1/chat/completions", json.dumps(BODY | {"metadata": {"session_id": "\ud800"}}).encode(), 400, "session_id"),
        ("/v1/chat/completions", json.dumps(HALF).encode(), 400, "messages.0"),
        ("/v1/chat/completions", b" " * 200_000, 413, "RAG_SERVE_MAX_BODY_KB"),
        ("/sessions/a3/turns", b'{"input": 3}', 400, "input"),
        ("/sessions/a3/turns", b'{"input": ""}', 400, "empty"),
        ("/sessions/a3/turns", b'{"input": "Hi", "filter": {"source": {}}}', 400, "filter['source']"),
        ("/sessions/a3/turns", b'{"input": "Hi", "access": ["a b"]}', 400, "access holds"),
        ("/v1/chat/completions", json.dumps(BODY | {"filter": {"access": "x"}}).encode(), 400, "not a filter"),
        ("/sessions/a%20b/turns", b'{"input": "Hi"}', 400, "session_id"),
        ("/sessions/a3/turns?on_disconnect=maybe", b'{"input": "Hi"}', 400, "on_disconnect"),
        ("/nowhere", b"{}", 404, "/nowhere"),
        ("/healthz", b"{}", 405, "POST"),
    ],
)
def test_bad_input_gets_its_status_and_a_reason(url: str, path: str, content: bytes, status: int, said: str) -> None:
    answer = httpx.post(url + path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True), answer.text


def test_the_example(url: str, folder: Path) -> None:
    script = Path(__file__).parents[2] / "examples" / "serve" / "openai_client.py"
    environment = {**os.environ, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none"}
    command = [sys.executable, script, QUESTION, "What did I just ask?"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    first, second = said.stdout.split("> What did I just ask?")
    assert "one hour" in first
    assert "sessions.md" in first
    assert QUESTION in second
    assert "durable" in second


def test_a_turn_as_events_and_what_is_kept_of_it(url: str) -> None:
    answer = httpx.post(f"{url}/sessions/b1/turns", json={"input": QUESTION}, timeout=60)
    told = events(answer)
    assert [name for name, _ in told if name != "token"] == ["sources", "end"]
    assert told[0][0] == "sources"
    end = told[-1][1]
    assert end["persistence"] == "durable"
    assert end["citations"][0]["source"].endswith("sessions.md")
    assert end["milliseconds"]["total"] > 0
    assert "b1" in [one["session_id"] for one in httpx.get(f"{url}/sessions").json()["sessions"]]
    page = httpx.get(f"{url}/sessions/b1/messages", params={"limit": 1, "offset": 1}).json()
    assert [one["content"] for one in page["messages"]] == [QUESTION]
    assert page["total"] == 2
    assert httpx.delete(f"{url}/sessions/b1").status_code == 204
    for again in (httpx.delete, httpx.get):
        gone = again(f"{url}/sessions/b1")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "session_not_found")


def test_turns_are_taken_back(url: str) -> None:
    path = f"{url}/sessions/b2"

    def ask_there(**body: str) -> dict[str, Any]:
        return dict(events(httpx.post(f"{path}/turns", json={"input": QUESTION, **body}, timeout=60)))["end"]

    first, second = ask_there(), ask_there()
    made = httpx.post(f"{path}/branches", json={"at_turn": first["turn_id"]})
    assert (made.status_code, made.json()["messages"]) == (201, 2)
    third = ask_there(instead_of=second["turn_id"])
    for outcome in ("saved", "repeated"):
        done = httpx.delete(f"{path}/turns/{first['turn_id']}")
        assert done.json() == {"persistence": "durable", "outcome": outcome}
    left = httpx.get(f"{path}/messages").json()["messages"]
    assert {one["turn_id"] for one in left} == {third["turn_id"]}
    missing = httpx.delete(f"{path}/turns/none")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "turn_not_found")


def upload(url: str, *files: tuple[str, bytes]) -> list[tuple[str, Any]]:
    sent = [("file", file) for file in files]
    return events(httpx.post(f"{url}/documents", files=sent, timeout=60))


def list_names(url: str) -> list[str]:
    return [one["name"] for one in httpx.get(f"{url}/documents").json()["documents"] if one["name"]]


def test_documents_are_added_replaced_and_deleted_while_it_serves(url: str, folder: Path) -> None:
    def told(session: str) -> str:
        return httpx.post(f"{url}/sessions/{session}/turns", json={"input": "Who paints the lighthouse?"}).text

    text = "# Lighthouse\n\nThe lighthouse is painted by {}.\n"
    filler = b"Gulls nest on the cliff. " * 6_000  # more than other bodies may have
    found = upload(url, ("light.md", text.format("Corvin").encode()), ("gulls.txt", filler))
    assert [found[0], found[-1][0]] == [("accepted", {"documents": ["light.md", "gulls.txt"]}), "end"]
    steps = [data["bytes"] for name, data in found if name == "progress"]
    assert steps
    assert steps == sorted(steps)
    assert {one["status"] for one in found[-1][1]["documents"]} == {"ingested"}
    assert "Corvin" in told("u1")
    assert sorted(list_names(url)) == ["gulls.txt", "light.md"]
    page = httpx.get(f"{url}/documents", params={"limit": 1}).json()
    assert len(page["documents"]) == 1
    following = httpx.get(f"{url}/documents", params={"cursor": page["cursor"]}).json()
    assert page["documents"][0] not in following["documents"]
    assert following["cursor"] is None

    upload(url, ("light.md", text.format("Isolde").encode()))
    assert ("Corvin" in (said := told("u2")), "Isolde" in said) == (False, True)
    for name in ("light.md", "gulls.txt"):
        assert httpx.delete(f"{url}/documents/{name}").status_code == 204
    gone = httpx.delete(f"{url}/documents/light.md")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "document_not_found")
    assert "Isolde" not in told("u3")
    assert list_names(url) == []
    assert [path.name for path in (folder / ".rag_documents").iterdir() if path.name != ".lock"] == []


def test_what_can_not_be_read_leaves_nothing_behind(url: str, folder: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.docx"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("[Content_Types].xml", "<Types/>")
        package.writestr("word/document.xml", b"<w>" + b" " * 400_000_000)
    good = ("rope.md", b"# Rope\n\nThe rope is forty metres long.\n")
    upload(url, good)
    end = upload(url, ("bomb.docx", bomb.read_bytes()), ("rope.md", b""), ("photo.png", b"\x89PNG\r\n"))[-1]
    assert end[0] == "end"
    assert {one["name"]: one["status"] for one in end[1]["documents"]} == {
        "bomb.docx": "failed", "rope.md": "failed", "photo.png": "failed"
    }  # fmt: skip
    assert all(one["reason"] for one in end[1]["documents"])
    kept = folder / ".rag_documents" / "rope.md"
    assert kept.read_bytes() == good[1]
    assert list_names(url) == ["rope.md"]
    assert "forty" in httpx.post(f"{url}/sessions/u4/turns", json={"input": "How long is the rope?"}).text
    assert {path.name for path in kept.parent.iterdir()} == {"rope.md", ".lock"}
    assert httpx.delete(f"{url}/documents/rope.md").status_code == 204


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../escape.md", "folder"),
        ("a\\b.md", "folder"),
        (".ragaccess", "hidden"),
        ("x" * 300 + ".md", "longer"),
        (" ", "no name"),
    ],
)
def test_file_names_that_lead_elsewhere_are_refused(url: str, name: str, said: str) -> None:
    answer = httpx.post(f"{url}/documents", files={"file": (name, b"text")})
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (400, True), answer.text
    assert list_names(url) == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 400),
        ({"data": {"file": "no file"}}, 400),
        ({"files": {"other": ("a.md", b"x")}}, 400),
        ({"files": {"file": ("a.md", b"x")}, "data": {"access": "a b"}}, 400),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"broken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
    ],
)
def test_malformed_uploads_are_refused(url: str, sent: dict[str, Any], status: int) -> None:
    answer = httpx.post(f"{url}/documents", **sent)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


def test_sessions_are_exported_and_imported_without_loss(url: str) -> None:
    httpx.post(f"{url}/sessions/e1/turns", json={"input": QUESTION}, timeout=60)
    exported = httpx.get(f"{url}/sessions/e1/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    made = httpx.post(f"{url}/sessions/e2/import", content=exported.content)
    assert (made.status_code, made.json()["messages"]) == (201, 2), made.text
    again = httpx.get(f"{url}/sessions/e2/export").text
    assert again.splitlines()[1:] == exported.text.splitlines()[1:]
    for content in (exported.content, b"no export", b"\xff", b""):
        assert httpx.post(f"{url}/sessions/e2/import", content=content).status_code == 400
    assert httpx.get(f"{url}/sessions/nobody/export").status_code == 404


def test_feedback_becomes_a_set_of_questions(url: str, folder: Path, redis_server: RedisServer) -> None:
    turns = f"{url}/sessions/f1/turns"
    for turn_id in ("good", "bad", "plain"):
        httpx.post(turns, json={"input": QUESTION, "turn_id": turn_id}).raise_for_status()
    said = {"thumb": "up", "text": "Exactly."}
    given = httpx.post(f"{turns}/good/feedback", json=said).json()
    assert given["persistence"] == "durable"
    assert given["feedback"].items() >= said.items()
    httpx.post(f"{turns}/bad/feedback", json={"thumb": "up"}).raise_for_status()
    httpx.post(f"{turns}/bad/feedback", json={"thumb": "down"}).raise_for_status()
    for path, body, status in (
        ("nothing", said, 404),
        ("good", {"thumb": "left"}, 400),
        ("good", {"text": "x" * 3000}, 400),
    ):
        assert httpx.post(f"{turns}/{path}/feedback", json=body).status_code == status
    shown = httpx.get(f"{url}/sessions/f1/messages").json()["messages"]
    assert [one.get("feedback", {}).get("thumb") for one in shown] == [None, "up", None, "down", None, None]
    lines = httpx.get(f"{url}/feedback").text
    good, bad = [json.loads(line) for line in lines.splitlines()]
    assert (good["id"], good["comment"], bad["thumb"], bad["relevant"]) == ("f1:good", "Exactly.", "down", [])
    environment = {"REDIS_URL": redis_server.url, "RAG_KEY_PREFIX": "serve:"}
    assert run(folder, "sessions", "feedback", **environment) == (0, lines)
    assert run(folder, "sessions", "rate", "f1", "plain", "--down", "--text", "no", **environment)[0] == 0
    assert "feedback: down no" in run(folder, "sessions", "show", "f1", **environment)[1]
    (folder / "set.jsonl").write_text(lines)
    code, report = run(folder, "evaluate", "--queries", str(folder / "set.jsonl"), "--json", **environment)
    assert code == 0, report
    assert json.loads(report.splitlines()[-1])["questions"] == 1


def test_health_and_headers(url: str) -> None:
    ready = httpx.get(f"{url}/readyz")
    assert ready.json() == {"status": "ready", "redis": "up", "turns": 0, "documents": "ready"}
    assert ready.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in httpx.get(f"{url}/v1/models").headers


def figures(url: str, headers: dict[str, str] | None = None) -> Callable[..., float]:
    answer = httpx.get(f"{url}/metrics", headers=headers)
    assert answer.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    return lambda name, *labels: found.get((name, *sorted(labels)), 0.0)


def test_figures_of_turns(url: str, client: openai.OpenAI) -> None:
    before = figures(url)
    httpx.post(f"{url}/sessions/f1/turns", json={"input": QUESTION}, timeout=60)
    ask(client)
    after = figures(url)
    for labels in (("complete", "durable"), ("complete", "none")):
        assert after("rag_turns_total", *labels) == before("rag_turns_total", *labels) + 1
    for stage in ("retrieve", "total"):
        count = "rag_turn_stage_seconds_count"
        assert after(count, stage) == before(count, stage) + 2
    assert after("rag_running_turns") == 0
    assert after("rag_redis_up") == 1
    assert after("rag_redis_calls_limit") > 0


def test_figures_of_all_workers_and_of_the_journal(folder: Path, tmp_path: Path) -> None:
    variables = {"REDIS_URL": "redis://127.0.0.1:1/0", "RAG_JOURNAL_PATH": str(tmp_path / "journal.sqlite3")}
    with serving(folder, "--workers", "2", **variables) as (url, _):
        for number in range(6):
            httpx.post(f"{url}/sessions/w{number}/turns", json={"input": QUESTION}, timeout=60)
        for _ in range(6):  # whichever worker answers
            found = figures(url)
            assert found("rag_turns_total", "complete", "journaled") == 6
            assert found("rag_redis_up") == 0
            assert found("rag_journal_changes", "redis://127.0.0.1:1/0") >= 6
            assert found("rag_journal_bytes", "redis://127.0.0.1:1/0") > 0


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
def test_without_keys_pages_of_other_sites_are_refused(url: str, headers: dict[str, str]) -> None:
    assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 403


def test_keys_separate_users_and_without_redis_it_is_degraded(folder: Path, tmp_path: Path) -> None:
    keys_file = {"RAG_API_KEYS": str(tmp_path / "keys.json"), "REDIS_URL": ""}
    code, output = run(folder, "serve", "--host", "0.0.0.0", **keys_file)
    assert code == 2
    assert "rag-chain keys add" in output
    added = (["ada"], ["bob"], ["ada", "--access", "staff"], ["ada", "--documents", "--access", "board"])
    ada, bob, staff, board = (run(folder, "keys", "add", *options, **keys_file)[1].strip() for options in added)
    kept = (tmp_path / "keys.json").read_text()
    assert ada not in kept
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    with serving(folder, **keys_file) as (url, _):
        keys = (ada, bob, staff, board)
        as_ada, as_bob, as_staff, as_board = ({"Authorization": f"Bearer {key}"} for key in keys)
        _check_access(url, as_ada, as_staff)
        _check_uploads(url, as_ada, as_board)
        for headers in ({}, {"Authorization": "Bearer rag_wrong"}, {"Authorization": ada}):
            assert httpx.get(f"{url}/sessions", headers=headers).status_code == 401
        turn: Callable[..., httpx.Response] = httpx.post
        assert turn(f"{url}/sessions/c1/turns", json={"input": QUESTION}, headers=as_ada, timeout=60).is_success
        assert httpx.get(f"{url}/sessions/c1", headers=as_ada).status_code == 200
        for refused in (httpx.get, httpx.delete):
            assert refused(f"{url}/sessions/c1", headers=as_bob).status_code == 404
        assert httpx.get(f"{url}/sessions", headers=as_bob).json()["sessions"] == []
        assert httpx.get(f"{url}/readyz").json()["status"] == "degraded"
        ada_id = next(one["id"] for one in json.loads(kept) if one["user"] == "ada")
        assert run(folder, "keys", "revoke", ada_id, **keys_file)[0] == 0
        assert httpx.get(f"{url}/sessions", headers=as_ada).status_code == 401


def _check_access(url: str, as_ada: dict[str, str], as_staff: dict[str, str]) -> None:
    """Two keys of one user, of which the second may read a document with a tag."""

    def post(headers: dict[str, str], path: str = "/sessions/c0/turns", **body: Any) -> httpx.Response:
        return httpx.post(url + path, json={"input": "Which word opens the vault's door?", **body}, headers=headers)

    def read(headers: dict[str, str]) -> list[str]:
        found = httpx.get(f"{url}/sessions/c0/messages", headers=headers).json()["messages"]
        return [one["content"] for one in found if one["role"] == "assistant"]

    assert "heliotrope" not in post(as_ada).text
    refused = post(as_ada, access=["staff"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "access_denied")
    assert "heliotrope" not in post(as_staff, access=[]).text
    assert "heliotrope" not in post(as_staff, filter={"source": "sessions.md"}).text
    told = post(as_staff, turn_id="secret").text
    assert "heliotrope" in told
    events_of = f"{url}/sessions/c0/turns/secret/events"
    assert httpx.get(events_of, headers=as_staff).text.replace("\r", "") == told
    assert httpx.get(events_of, headers=as_ada).status_code == 404
    assert "heliotrope" in read(as_staff)[-1]
    assert "heliotrope" not in read(as_ada)[-1]
    question = {"model": "rag_chain", "messages": [{"role": "user", "content": "Which word opens the vault's door?"}]}
    for headers, is_told in ((as_ada, False), (as_staff, True)):
        said = httpx.post(f"{url}/v1/chat/completions", json=question, headers=headers).text
        assert ("heliotrope" in said) == is_told


def _check_uploads(url: str, as_ada: dict[str, str], as_board: dict[str, str]) -> None:
    """A key that may change documents: they get its tags, and who may not read them does not see them."""

    def names(headers: dict[str, str]) -> list[str]:
        return [one["name"] for one in httpx.get(f"{url}/documents", headers=headers).json()["documents"]]

    board = {"file": ("board.md", b"# Board\n\nThe board meets in the hall named Marigold.\n")}
    refused = httpx.post(f"{url}/documents", files=board, headers=as_ada)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "may_not_change_documents")
    refused = httpx.post(f"{url}/documents", files=board, data={"access": "staff"}, headers=as_board)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "access_denied")
    assert events(httpx.post(f"{url}/documents", files=board, headers=as_board, timeout=60))[-1][0] == "end"
    assert ("board.md" in names(as_board), "board.md" in names(as_ada)) == (True, False)
    for headers, is_told in ((as_ada, False), (as_board, True)):
        body = {"input": "In which hall does the board meet?"}
        told = httpx.post(f"{url}/sessions/c9/turns", json=body, headers=headers, timeout=60)
        assert ("Marigold" in told.text) == is_told
    exported = [httpx.get(f"{url}/sessions/c9/export", headers=headers).status_code for headers in (as_ada, as_board)]
    assert exported == [403, 200]
    assert httpx.delete(f"{url}/documents/board.md", headers=as_ada).status_code == 403
    assert httpx.delete(f"{url}/documents/board.md", headers=as_board).status_code == 204


def test_turns_outlive_readers_are_bounded_and_end_before_the_server(folder: Path, redis_server: RedisServer) -> None:
    def answer_of(session: str) -> Any:
        messages = httpx.get(f"{url}/sessions/{session}/messages").json().get("messages", [])
        return messages[1] if len(messages) == 2 else None

    def is_idle() -> bool:
        return bool(httpx.get(f"{url}/readyz").json()["turns"] == 0)

    def begin(session: str, options: str = "", **ids: str) -> Any:
        """Open a stream and return it with its lines, read up to the first word."""
        model.release.release()
        body = {"input": QUESTION, **ids}
        stream = httpx.stream("POST", f"{url}/sessions/{session}/turns{options}", json=body, timeout=60)
        lines = stream.__enter__().iter_lines()
        assert any(WORDS[0] in line for line in lines)
        return stream, lines

    with FaultyServer() as model:
        variables = {"OPENAI_BASE_URL": f"{model.address}/v1", "OPENAI_API_KEY": KEY, "RAG_REFUSE": "off"}
        variables |= {"RAG_CHAT_MODEL": "openai:lockstep", "REDIS_URL": redis_server.url, "RAG_KEY_PREFIX": "slow:"}
        with serving(folder, RAG_SERVE_MAX_TURNS="1", **variables) as (url, process):
            kept = "/sessions/d1/turns/t1"
            with serving(folder, **variables) as (other, _):
                stream, _ = begin("d1", turn_id="t1")
                refused = httpx.post(f"{url}/v1/chat/completions", json=BODY)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert (figures(url)("rag_refused_turns_total"), figures(url)("rag_running_turns")) == (1, 1)
                stream.__exit__(None, None, None)
                model.release.release(3)
                rest = httpx.get(f"{other}{kept}/events", headers={"Last-Event-ID": "t1:2"}, timeout=60)
                assert "".join(data["text"] for name, data in events(rest) if name == "token") == "".join(WORDS[1:])
                assert events(rest)[-1][0] == "end"
                assert events(httpx.get(f"{url}{kept}/events"))[1:][1:] == events(rest)
                last = rest.text.rpartition("id: ")[2].splitlines()[0]
                for server in (url, other):
                    done = httpx.get(f"{server}{kept}/events", headers={"Last-Event-ID": last})
                    assert (done.status_code, done.content) == (204, b"")
                for path, known, status in ((kept, "t2:1", 400), (kept, "t1:x", 400), (f"{kept}0", "", 404)):
                    headers = {"Last-Event-ID": known} if known else {}
                    assert httpx.get(f"{other}{path}/events", headers=headers).status_code == status
            finished = until(lambda: answer_of("d1"), "the end of the turn that nobody reads")
            assert (finished["content"], finished["status"]) == ("".join(WORDS), "complete")

            until(is_idle, "the end of the turn")
            stream, _ = begin("d2", "?on_disconnect=stop")
            stream.__exit__(None, None, None)
            stopped = until(lambda: answer_of("d2"), "the storing of the stopped turn")
            assert stopped["status"] == "interrupted"
            until(is_idle, "the end of the stopped turn")
            assert figures(url)("rag_turns_total", "interrupted", "unknown") == 1
            assert "".join(WORDS).startswith(stopped["content"])

            model.release.release(3)  # what the model still wants to say of the stopped turn
            until(lambda: not any("process_request" in one.name for one in threading.enumerate()), "the model's end")
            while model.release.acquire(blocking=False):
                pass
            stream, lines = begin("d3")
            process.send_signal(signal.SIGTERM)
            model.release.release(3)
            ending = list(lines)
            stream.__exit__(None, None, None)
            assert "event: end" in ending
            assert any('"persistence":"durable"' in line for line in ending)


def test_a_server_without_documents_says_so_and_takes_the_first(tmp_path: Path) -> None:
    with serving(tmp_path, REDIS_URL="") as (url, _):
        turns = f"{url}/sessions/n1/turns"
        assert httpx.get(f"{url}/readyz").json()["documents"] == "no documents yet"
        assert httpx.get(f"{url}/documents").json() == {"documents": [], "cursor": None}
        told = events(httpx.post(turns, json={"input": "Wie lange bleibt eine Sitzung erhalten?"}, timeout=60))
        assert "".join(data["text"] for name, data in told if name == "token").startswith("Es gibt noch keine")
        files = {"file": ("first.md", b"# Sessions\n\nA session is kept for one hour.\n")}
        sent = httpx.post(f"{url}/documents", files=files, timeout=60)
        assert events(sent)[-1][1]["documents"] == [{"name": "first.md", "status": "ingested"}]
        told = events(httpx.post(turns, json={"input": QUESTION}, timeout=60))
        assert "one hour" in "".join(data["text"] for name, data in told if name == "token")
        assert httpx.get(f"{url}/readyz").json()["documents"] == "ready"
