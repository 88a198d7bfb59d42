"""The result of a scene: its steps, the proof read from Redis, the checks, and figures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import redis

from rag_chain.sessions.values.keys import SessionRef


@dataclass
class Scene:
    """One played scene. Figures are numbers measured in this run, by name."""

    name: str
    title: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    proof: list[tuple[str, str]] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether all checks held."""
        return all(held for _, held in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self) | {
            "proof": [{"command": command, "reply": reply} for command, reply in self.proof],
            "checks": [{"claim": claim, "held": held} for claim, held in self.checks],
        }


class Reader:
    """Reads a session from Redis with redis-py alone, without this project's code.

    ``proof`` collects each command and its reply, shortened for a reader.
    """

    def __init__(self, client: redis.Redis, ref: SessionRef) -> None:
        self._client, self.ref = client, ref
        self.proof: list[tuple[str, str]] = []

    def exists(self) -> bool:
        """Whether any key of the session exists."""
        keys = (self.ref.messages_key, self.ref.meta_key)
        found = int(self._client.exists(*keys))
        self._note("EXISTS", " ".join(keys), f"{found} of {len(keys)}")
        return found > 0

    def count(self) -> int:
        """Return the number of messages in the list."""
        length = int(self._client.llen(self.ref.messages_key))
        self._note("LLEN", self.ref.messages_key, f"{length} messages")
        return length

    def ttl(self) -> float:
        """Return the remaining time to live in seconds."""
        left = self.left()
        self._note("PTTL", self.ref.messages_key, f"{left:.1f} s left")
        return left

    def left(self) -> float:
        """Return the same as ``ttl``, but not in the proof; negative: there is no such key."""
        return int(self._client.pttl(self.ref.messages_key)) / 1000

    def bytes(self) -> int:
        """Return the memory of the session in Redis, in bytes."""
        taken = sum(int(self._client.memory_usage(key) or 0) for key in (self.ref.messages_key, self.ref.meta_key))
        self._note("MEMORY USAGE", f"{self.ref.messages_key} + meta", f"{taken:,} bytes")
        return taken

    def turns(self, show: int = 0) -> list[dict[str, str]]:
        """Return all messages, oldest first: type, text, turn_id, status. ``show``: newest ones to add to the proof."""
        raw = [json.loads(item) for item in self._client.lrange(self.ref.messages_key, 0, -1)]
        messages = []
        for message in reversed(raw):
            note = message["data"]["additional_kwargs"].get("rag_chain", {})
            text = " ".join(str(message["data"]["content"]).split())
            messages.append(
                {"type": message["type"], "text": text, "turn": note.get("turn_id", ""), "is": note.get("status", "")}
            )
        for place, one in enumerate(messages[-show:] if show else [], len(messages) - min(show, len(messages)) + 1):
            self.proof.append((f"message {place}", f"turn {one['turn'][:6]}  {one['type']}: {one['text'][:120]}"))
        return messages

    def _note(self, command: str, key: str, reply: str) -> None:
        self.proof.append((f"{command} {key}", reply))


def whole(messages: list[dict[str, str]]) -> bool:
    """Whether the messages are complete turns in sequence, each once: question, answer, question, answer."""
    pairs = list(zip(messages[::2], messages[1::2], strict=False))
    ids = [question["turn"] for question, _ in pairs]
    return (
        len(messages) % 2 == 0
        and len(set(ids)) == len(ids)
        and all(
            question["type"] == "human" and answer["type"] == "ai" and question["turn"] == answer["turn"]
            for question, answer in pairs
        )
    )
