"""List, show and delete sessions: ``rag-chain sessions`` from a clone. Code: ``rag_chain/cli/sessions.py``."""

from rag_chain.cli.sessions import app

if __name__ == "__main__":
    app()
