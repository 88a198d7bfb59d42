"""The stage of the scenes: processes, servers, and names of sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from before_after.processes import ChatProcess, Mode, RedisProcess
from before_after.scene import Reader, Scene
from before_after.screen import Screen
from rag_chain.sessions.values.keys import make_ref

PREFIX = "message_store:"


class Stage:
    """Starts processes, hands out idle ones, and ends all of them in ``close``.

    Args:
        redis_url: the server of all scenes except the outage, which starts a server of its own to kill.
        folder: for logs, journals and servers' files.
    """

    def __init__(self, screen: Screen, redis_url: str, index_dir: Path, folder: Path, *, fast: bool) -> None:
        self.screen, self.redis_url, self.folder, self.fast = screen, redis_url, folder, fast
        self._run = uuid4().hex[:6]
        self._index_dir = index_dir
        self._idle: list[ChatProcess] = []
        self._all: list[ChatProcess] = []
        self._servers: list[RedisProcess] = []
        self._clients: dict[str, redis.Redis] = {}
        self._sessions: set[tuple[str, str]] = set()

    def session(self, name: str) -> str:
        """Return a session id that no other run uses."""
        return f"{name}-{self._run}"

    def process(self, mode: Mode, **settings: str) -> ChatProcess:
        """Return a chat process that is ready and idle: a released one, else a new one."""
        wanted = self._settings(settings)
        for one in self._idle:
            if one.mode == mode and one.settings == wanted:
                self._idle.remove(one)
                return one.ready()
        return self._start(mode, wanted).ready()

    def prepare(self, *modes: Mode, **settings: str) -> None:
        """Start processes for ``process`` without waiting for them."""
        wanted = self._settings(settings)
        for mode in modes:
            have = sum(one.mode == mode and one.settings == wanted for one in self._idle)
            need = sum(other == mode for other in modes)
            if have < need:
                self._idle.append(self._start(mode, wanted))

    def release(self, *processes: ChatProcess) -> None:
        """Return processes for use by other scenes."""
        self._idle.extend(processes)

    def ask(self, scene: Scene, process: ChatProcess, session: str, question: str) -> dict[str, Any]:
        """Ask a question in one mode and show the turn."""
        turn = process.ask(session, question)
        self.screen.turn(turn)
        scene.steps.append(step(process, turn))
        return turn

    def ask_both(
        self, scene: Scene, before: ChatProcess, after: ChatProcess, session: str, question: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Ask the same question in both modes, one after the other, and show the turns side by side."""
        turns = before.ask(session, question), after.ask(session, question)
        self.screen.turns(*turns)
        for process, turn in zip((before, after), turns, strict=True):
            scene.steps.append(step(process, turn))
        return turns

    def event(self, scene: Scene, text: str) -> None:
        """Show and record an event other than a turn."""
        self.screen.event(text)
        scene.steps.append({"event": text})

    def reader(self, session: str, url: str | None = None) -> Reader:
        """Return a reader for a session of a server, by default the one of all scenes."""
        url = url or self.redis_url
        if url not in self._clients:
            self._clients[url] = redis.Redis.from_url(url, socket_timeout=5)
        self._sessions.add((url, session))
        return Reader(self._clients[url], make_ref(PREFIX, session))

    def server(self) -> RedisProcess:
        """Start a Redis server for one scene."""
        one = RedisProcess(self.folder / f"redis-{len(self._servers)}")
        self._servers.append(one)
        return one

    def close(self) -> None:
        """End every process, and erase the sessions of this run."""
        for process in self._all:
            process.stop()
        for url, session in self._sessions:
            one = make_ref(PREFIX, session)
            try:
                self._clients[url].delete(one.messages_key, one.meta_key)
                self._clients[url].zrem(one.index_key, session)
            except redis.RedisError:
                continue  # the server of a scene that was killed
        for client in self._clients.values():
            client.close()
        for server in self._servers:
            server.stop()

    def _settings(self, settings: dict[str, str]) -> dict[str, str]:
        return {
            "REDIS_URL": self.redis_url,
            "RAG_INDEX_DIR": str(self._index_dir),
            "RAG_JOURNAL_PATH": str(self.folder / "journal.sqlite3"),
            "RAG_KEY_PREFIX": PREFIX,
            "RAG_CHAT_MODEL": "local:extractive",
            "RAG_EMBEDDING_MODEL": "local:minilm",
        } | settings

    def _start(self, mode: Mode, settings: dict[str, str]) -> ChatProcess:
        process = ChatProcess(mode, settings, self.folder / f"{mode}-{len(self._all)}.log")
        self._all.append(process)
        return process


def step(process: ChatProcess, turn: dict[str, Any]) -> dict[str, Any]:
    """Return a turn for ``--json``."""
    keys = ("question", "standalone_question", "answer", "known", "persistence", "milliseconds")
    return {"mode": process.mode, "pid": process.pid, **{key: turn[key] for key in keys}}
