"""A chat server with a JSON lines protocol, which ``demo_before_after.py`` starts, uses and kills.

One request per line: ``{"session": ID, "ask": QUESTION}``. One reply per line: the turn as ``chat.py --json`` prints
it, with ``known`` (number of the session's messages in the prompt), or ``{"error": SENTENCE}``. The first line is
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
    """Counts the session's messages that the chain gets."""

    def __init__(self) -> None:
        self.messages = 0
        self._load: UUID | None = None

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Remember the run that reads the history."""
        if kwargs.get("name") == "load_history":
            self._load = run_id

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the messages that were read."""
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
