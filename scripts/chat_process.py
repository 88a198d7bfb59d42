"""A chat server that is spoken to in JSON lines: what ``demo_before_after.py`` starts, talks to and kills.

One request a line: ``{"session": ID, "ask": QUESTION}``. One reply a line: the turn as ``chat.py --json`` prints it,
with ``known`` (messages of the session that the chain was shown), or ``{"error": SENTENCE}``. The first line says
``{"pid": PID}`` when the server is ready. All settings come from the environment.

Example:
    echo '{"session": "s1", "ask": "How long is a session kept?"}' | python scripts/chat_process.py
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from rag_chain import RagChainError, build_chain
from rag_chain.cli.turns import ask


class Known(BaseCallbackHandler):
    """Counts the messages that the chain is shown of the session."""

    def __init__(self) -> None:
        self.messages = 0
        self._load: UUID | None = None

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The history is about to be read."""
        if kwargs.get("name") == "load_history":
            self._load = run_id

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """The history was read."""
        if run_id == self._load:
            self.messages = len(outputs)


def main() -> None:
    """Answer until the end of the input."""
    try:
        chain = build_chain()
    except RagChainError as error:
        sys.exit(str(error))
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        request, known = json.loads(line), Known()
        try:
            turn = ask(chain.with_config(callbacks=[known]), request["ask"], request["session"])
            reply = turn | {"known": known.messages}
        except RagChainError as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)
    chain.close()


if __name__ == "__main__":
    main()
