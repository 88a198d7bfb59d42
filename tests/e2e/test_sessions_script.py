"""scripts/sessions.py as a person and as a machine run it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Script = Callable[..., subprocess.CompletedProcess[str]]


def test_a_session_is_looked_after(script: Script, tmp_path: Path) -> None:
    script("chat.py", "--session", "kept", "--ask", "How long is a session kept?")

    listed = json.loads(script("sessions.py", "list", "--json").stdout)
    assert [s["session_id"] for s in listed["sessions"]] == ["kept"]
    assert listed["cursor"] is None
    assert "kept" in script("sessions.py", "list").stdout

    shown = json.loads(script("sessions.py", "show", "kept", "--json").stdout)
    assert shown[0]["content"] == "How long is a session kept?"
    assert "3600 seconds" in shown[1]["content"]
    assert "2 messages, kept for 3" in script("sessions.py", "show", "kept").stdout

    stats = json.loads(script("sessions.py", "stats", "kept", "--json").stdout)
    assert (stats["messages"], stats["turns"], stats["store"]) == (2, {"complete": 1}, "redis")

    exported = script("sessions.py", "export", "kept").stdout
    path = tmp_path / "kept.jsonl"
    path.write_text(exported)
    assert "2 messages" in script("sessions.py", "import", str(path), "--session", "copy").stdout
    assert json.loads(script("sessions.py", "show", "copy", "--json").stdout) == shown

    assert script("sessions.py", "extend", "kept", "--seconds", "9999").returncode == 0
    assert json.loads(script("sessions.py", "stats", "kept", "--json").stdout)["ttl"] > 9000
    assert script("sessions.py", "clear", "copy").returncode == 0
    assert json.loads(script("sessions.py", "show", "copy", "--json").stdout) == []
    assert script("sessions.py", "delete", "kept").returncode == 0


def test_mistakes_are_one_clear_line(script: Script, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text("{")
    for arguments, code, said in [
        (["show", "nobody"], 1, "nobody"),
        (["delete", "nobody"], 1, "nobody"),
        (["import", str(damaged)], 2, "Error"),
        (["import", "/nonexistent"], 2, "can't be read"),
        (["show", "a b"], 2, "not allowed"),
        (["list", "--cursor", "nonsense"], 2, "cursor"),
    ]:
        done = script("sessions.py", *arguments)
        assert said in done.stderr, (arguments, done.stderr)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
