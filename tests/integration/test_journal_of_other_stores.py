"""What one journal keeps for several stores: found under another spelling, moved nowhere, told where it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import RedisServer
from talking import contents, is_back, say, stock, turns, until
from typer.testing import CliRunner

from rag_chain.cli.sessions import app
from rag_chain.errors import SessionNotFoundError
from rag_chain.sessions import RedisSessionManager, Sessions

Open = Callable[..., Sessions]


def test_what_waits_under_another_spelling_is_replayed(
    own_server: RedisServer, processes: Open, tmp_path: Path
) -> None:
    path = tmp_path / "journal.sqlite3"
    own_server.kill()
    one = processes(redis_url=f"redis://localhost:{own_server.port}", journal_path=path, redis_timeout=0.5)
    say(one, "1")
    one.close()
    with sqlite3.connect(path) as db:  # as a version wrote it that took a URL as it was spelled
        for table in ("sessions", "entries"):
            db.execute(f"UPDATE {table} SET store = ?", (f"redis://LOCALHOST:{own_server.port} message_store:",))  # noqa: S608
    db.close()
    own_server.start()
    other = processes(redis_url=own_server.url, journal_path=path, redis_timeout=0.5)
    until(lambda: say(other, "x", session_id="other") == ["durable"] and is_back(other), "recovery")
    assert contents(stock(own_server.url)) == turns("1")


def test_a_chat_without_redis_stays_apart_and_is_told(
    own_server: RedisServer, processes: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal.sqlite3"
    say(processes(redis_url="", journal_path=path), "1")
    sessions = processes(redis_url=own_server.url, journal_path=path)
    say(sessions, "2", session_id="s2")
    assert caplog.text.count("1 for no Redis") == 1
    with pytest.raises(SessionNotFoundError, match="no Redis"):
        RedisSessionManager(sessions=sessions).get_session("s1")
    environment = {"REDIS_URL": own_server.url, "RAG_JOURNAL_PATH": str(path), "COLUMNS": "200"}
    done = CliRunner().invoke(app, ["journal", "--json"], env=environment)
    [waiting] = json.loads(done.stdout)["stores"]
    assert waiting.items() >= {
        ("address", ""), ("prefix", "message_store:"), ("sessions", 1), ("entries", 1), ("is_in_use", False),
    }  # fmt: skip
    assert "1 changes of 1 sessions for no Redis" in CliRunner().invoke(app, ["journal"], env=environment).stdout
    say(sessions, "4")
    assert RedisSessionManager(sessions=sessions).get_session_stats("s1").elsewhere == {"no Redis": 1}
    told = CliRunner().invoke(app, ["stats", "s1"], env=environment).stdout
    assert "elsewhere    1 for no Redis" in told
    again = processes(redis_url="", journal_path=path)
    say(again, "3")
    assert RedisSessionManager(sessions=again).get_session("s1").messages == 4
