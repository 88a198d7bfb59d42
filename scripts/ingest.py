"""Index files and folders: ``rag-chain ingest`` from a clone. Code: ``rag_chain/cli/ingest.py``."""

from rag_chain.cli.command_line import run_command
from rag_chain.cli.ingest import ingest

if __name__ == "__main__":
    run_command(ingest)
