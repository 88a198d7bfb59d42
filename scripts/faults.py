"""Break servers, network, disks and processes under a chat, and count lost turns. Code: ``rag_chain/cli/faults.py``."""

from rag_chain.cli.command_line import run_command
from rag_chain.cli.faults import HELP, faults

if __name__ == "__main__":
    run_command(faults, HELP)
