"""Measure retrieval and answers: ``rag-chain evaluate`` from a clone. Code: ``rag_chain/cli/evaluate.py``."""

from rag_chain.cli.command_line import run_command
from rag_chain.cli.evaluate import evaluate

if __name__ == "__main__":
    run_command(evaluate)
