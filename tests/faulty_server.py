"""A server that speaks OpenAI's protocol, and Azure's, and fails on request: the model's name says how.

It serves chat completions and embeddings.

Azure's scheme differs in the path (``/openai/deployments/NAME/chat/completions``), in the ``api-version`` and in the
header that carries the key (``api-key``); a request that mixes the two is refused.

A model ``gpt-...`` is served under its own name, every other as ``served``. ``charged`` says what the answer cost, as
OpenRouter does.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

KEY = "sk-a-secret-that-no-error-shows"
WORDS = ["Hello", " there", " [1]", "."]
PIECE, FLOOD = 8000, 64_000_000
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
CHARGED = 0.00042

ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "unauthorized": (401, {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}),
    "quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    "fault": (500, {"message": "internal", "code": None}),
    "filter": (400, {"message": "filtered", "code": "content_filter"}),
    "overflow": (400, {"message": "too many tokens", "code": "context_length_exceeded"}),
    "llama-overflow": (400, {"message": "too many tokens", "code": 400, "type": "exceed_context_size_error"}),
    "unknown": (404, {"message": "no such model", "code": "model_not_found"}),
    "invalid": (400, {"message": "bad option", "code": "invalid_request_error"}),
}


@dataclass(frozen=True)
class Request:
    """What was asked, as far as the tests look at it."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Stream:
    """An answer of ``endless`` or ``flood``: the words or how many bytes were sent; whether the client has gone."""

    sent: list[str] = field(default_factory=list)
    size: int = 0
    is_closed: bool = False


class FaultyServer:
    """``with FaultyServer() as server:`` serves at ``server.address``, without ``/v1``.

    The model ``endless`` sends ``words`` words, one every ``pause`` seconds, and never ends its answer: it waits
    until the client closes the connection. Asked for a whole answer, it gives none. The model ``lockstep`` sends
    each of ``WORDS`` when the test says so (``release``). The model ``flood`` sends words of ``PIECE`` characters as
    fast as they are taken, ``FLOOD`` bytes in all. The model ``agent`` calls the tools that a question names, all at
    once, and then answers.
    """

    words, pause = 12, 0.003

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.streams: list[Stream] = []
        self.closed = threading.Event()
        self.release = threading.Semaphore(0)
        self._seen: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def end_headers(self) -> None:
                # No connection outlives its request, nor the event loop of a test.
                self.send_header("Connection", "close")
                super().end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, http: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(http.path)
        sent = http.rfile.read(int(http.headers["Content-Length"]))
        if not sent:  # The client went away.
            http.close_connection = True
            return None
        body = json.loads(sent)
        request = Request(parts.path, parse_qs(parts.query), {k.lower(): v for k, v in http.headers.items()}, body)
        self.requests.append(request)
        behaviour = _behaviour(request)
        if behaviour is None:
            return _reply(http, 404, {"error": {"message": "wrong scheme", "code": "wrong_scheme"}})
        self._seen[behaviour] += 1
        if behaviour.endswith("-once"):
            behaviour = behaviour.removesuffix("-once") if self._seen[behaviour] == 1 else "ok"
        if behaviour in ERRORS:
            status, error = ERRORS[behaviour]
            return _reply(http, status, {"error": error}, {"Retry-After": "0"} if status == 429 else {})
        try:
            self._misbehave(http, behaviour, body)
        except (BrokenPipeError, ConnectionResetError):  # The client went away, as it may.
            http.close_connection = True
        return None

    def _misbehave(self, http: BaseHTTPRequestHandler, behaviour: str, body: dict[str, Any]) -> None:
        if behaviour == "hang":
            self.closed.wait()
            http.close_connection = True
        elif behaviour == "garbled":
            _send(http, 200, b'{"choices": [{"mess', "application/json")
        elif behaviour == "page":
            _send(http, 200, b"<html>Not a model</html>", "text/html")
        elif "input" in body:
            _vectors(http, behaviour, body["input"])
        elif behaviour == "endless":
            self._endless(http, streaming=bool(body.get("stream")))
        elif behaviour == "flood":
            self._flood(http)
        elif behaviour == "lockstep":
            _begin_stream(http)
            for word in WORDS:
                if not self.release.acquire(timeout=10):
                    http.close_connection = True
                    return
                _event(http, {"content": word})
            _end_stream(http)
        elif behaviour == "agent" and (calls := _called(body)):
            if body.get("stream"):
                _begin_stream(http)
                _event(http, {"tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]})
                _event(http, {}, "tool_calls")
                _end_stream(http)
            else:
                _reply(http, 200, _completion({"content": None, "tool_calls": calls}, "tool_calls", behaviour))
        elif body.get("stream"):
            _stream(http, behaviour, self.closed, usage=(body.get("stream_options") or {}).get("include_usage", False))
        else:
            _whole(http, behaviour)

    def _endless(self, http: BaseHTTPRequestHandler, *, streaming: bool) -> None:
        stream = Stream()
        self.streams.append(stream)
        http.close_connection = True
        try:
            if streaming:
                _begin_stream(http)
            for number in range(self.words if streaming else 0):
                if _is_closed(http.connection, self.pause):
                    break
                # Before it is sent: the client may have read it before this thread runs again.
                stream.sent.append(f" w{number}")
                _event(http, {"content": stream.sent[-1]})
            while not self.closed.is_set() and not _is_closed(http.connection, 0.1):
                pass
            stream.is_closed = not self.closed.is_set()
        except (BrokenPipeError, ConnectionResetError):
            stream.is_closed = True

    def _flood(self, http: BaseHTTPRequestHandler) -> None:
        stream = Stream()
        self.streams.append(stream)
        http.close_connection = True
        try:
            _begin_stream(http)
            while stream.size < FLOOD:
                _event(http, {"content": "x" * PIECE})
                stream.size += PIECE
        except (BrokenPipeError, ConnectionResetError):
            stream.is_closed = True


def _is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes the connection within so many seconds."""
    readable, _, _ = select.select([connection], [], [], seconds)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except ConnectionResetError:
        return True


def _behaviour(request: Request) -> str | None:
    """The model's or the deployment's name, if the request is well made."""
    parts = request.path.strip("/").split("/")
    if parts[:2] == ["openai", "deployments"] and parts[3:] in (["chat", "completions"], ["embeddings"]):
        well = request.query.get("api-version") == ["2024-10-21"] and request.headers.get("api-key") == KEY
        return parts[2] if well else None
    is_known = parts in (["v1", "chat", "completions"], ["v1", "embeddings"])
    if is_known and request.headers.get("authorization") == f"Bearer {KEY}":
        return str(request.body["model"])
    return None


def vector(text: str) -> list[float]:
    """What the server's embedding models make of a text."""
    return [float(len(text)), 1.0, 0.5]


def _vectors(http: BaseHTTPRequestHandler, behaviour: str, texts: Any) -> None:
    texts = [texts] if isinstance(texts, str) else texts
    if not all(isinstance(text, str) for text in texts):  # Tokens, which most servers do not take.
        return _reply(http, 400, {"error": {"message": "no text", "code": "invalid_request_error"}})
    made = [{"object": "embedding", "index": place, "embedding": vector(text)} for place, text in enumerate(texts)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    data = made[1:] if behaviour == "short" else made
    return _reply(http, 200, {"object": "list", "model": "served", "data": data, "usage": usage})


def _whole(http: BaseHTTPRequestHandler, behaviour: str) -> None:
    text = "" if behaviour in ("empty", "filtered") else "".join(WORDS)
    finish = "content_filter" if behaviour == "filtered" else "stop"
    data = json.dumps(_completion({"content": text}, finish, behaviour)).encode()
    if behaviour == "drop":
        http.send_response(200)
        http.send_header("Content-Type", "application/json")
        http.send_header("Content-Length", str(len(data)))
        http.end_headers()
        http.wfile.write(data[:40])
        http.close_connection = True
    else:
        _send(http, 200, data, "application/json")


def _completion(message: dict[str, Any], finish: str, behaviour: str) -> dict[str, Any]:
    return {
        "id": "c1", "object": "chat.completion", "created": 1, "model": _name(behaviour),
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}],
        "usage": _usage(behaviour),
    }  # fmt: skip


def _called(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Calls of the tools that the newest message names, if a person wrote it."""
    last = body["messages"][-1]
    if last["role"] != "user":
        return []
    question = str(last["content"])
    names = [one["function"]["name"] for one in body.get("tools", ())]
    return [
        {"id": f"call_{uuid4().hex}", "type": "function",
         "function": {"name": name, "arguments": json.dumps({"query": question})}}
        for name in names
        if name in question.split()
    ]  # fmt: skip


def _name(behaviour: str) -> str:
    return behaviour if behaviour.startswith("gpt-") else "served"


def _usage(behaviour: str) -> dict[str, Any]:
    return {**USAGE, "cost": CHARGED} if behaviour == "charged" else USAGE


def _begin_stream(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Content-Type", "text/event-stream")
    http.send_header("Transfer-Encoding", "chunked")
    http.end_headers()
    _event(http, {"role": "assistant", "content": ""})


def _stream(http: BaseHTTPRequestHandler, behaviour: str, closed: threading.Event, *, usage: bool) -> None:
    _begin_stream(http)
    if behaviour not in ("empty", "filtered"):
        for place, word in enumerate(WORDS):
            if place == 2 and behaviour == "drop":
                http.close_connection = True
                return
            if place == 2 and behaviour == "stall":
                closed.wait()
                http.close_connection = True
                return
            if place == 2 and behaviour == "garble":
                _chunk(http, b'data: {"choices": [{"del\n\n')
                break
            _event(http, {"content": word})
    finish = "content_filter" if behaviour in ("filtered", "half-filtered") else "stop"
    _event(http, {}, finish, model=_name(behaviour))
    if usage:
        _event(http, None, usage=_usage(behaviour))
    _end_stream(http)


def _end_stream(http: BaseHTTPRequestHandler) -> None:
    _chunk(http, b"data: [DONE]\n\n")
    _chunk(http, b"")


def _event(
    http: BaseHTTPRequestHandler,
    delta: dict[str, Any] | None,
    finish: str | None = None,
    *,
    model: str = "served",
    usage: dict[str, Any] | None = None,
) -> None:
    event = {
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "usage": usage,
        "choices": [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}],
    }  # fmt: skip
    _chunk(http, b"data: " + json.dumps(event).encode() + b"\n\n")


def _chunk(http: BaseHTTPRequestHandler, data: bytes) -> None:
    http.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    http.wfile.flush()


def _reply(
    http: BaseHTTPRequestHandler, status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> None:
    _send(http, status, json.dumps(body).encode(), "application/json", headers)


def _send(
    http: BaseHTTPRequestHandler, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None
) -> None:
    http.send_response(status)
    http.send_header("Content-Type", kind)
    http.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        http.send_header(name, value)
    http.end_headers()
    http.wfile.write(data)
