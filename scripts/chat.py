"""Talk with your documents: ``rag-chain chat`` from a clone. Code: ``rag_chain/cli/chat.py``."""

from rag_chain.cli.chat import chat
from rag_chain.cli.command_line import run_command

if __name__ == "__main__":
    run_command(chat)
