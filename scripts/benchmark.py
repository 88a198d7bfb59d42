"""Measure the promises of this package about its speed, compared with the parts that it replaces.

Examples:
    python scripts/benchmark.py history                  # keeping a turn, at four lengths; a minute

    python scripts/benchmark.py history --turns 200 --json

    python scripts/benchmark.py streaming                # latency of tokens from the model to the reader; a minute

    python scripts/benchmark.py retrieval --quick        # search of a turn; without --quick up to a million passages

    python scripts/benchmark.py langgraph --turns 20     # a turn of a graph with each checkpointer; extra: peers

    python scripts/benchmark.py load --turns 200000 --sessions 5000    # four processes, one server; --cluster: six

    python scripts/benchmark.py ingest --passages 10000   # ingestion with the engines local and ray; extra: ray

    python scripts/benchmark.py serve --clients 200       # the service and a bare FastAPI route; some minutes

    python scripts/benchmark.py capacity                  # cost of sessions, turns and passages; five minutes

    python scripts/benchmark.py sessions --count 20000    # lists over many sessions; by default a million
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from rag_chain.cli.command_line import new_app

sys.path.insert(0, str(Path(__file__).parent))

COMMANDS = {
    "capacity": "benchmark_capacity:capacity",
    "history": "benchmark_history:history",
    "ingest": "benchmark_ingest:ingest_files",
    "langgraph": "benchmark_langgraph:langgraph",
    "load": "benchmark_load:load",
    "retrieval": "benchmark_retrieval:retrieval",
    "serve": "benchmark_serve:serve",
    "sessions": "benchmark_sessions:sessions",
    "streaming": "benchmark_streaming:streaming",
}
"""Name -> module and function. All together take seconds to import, so only the one that is called is imported."""

app = new_app(__doc__)


@app.callback()
def main() -> None:
    """Measure the promises of this package about its speed."""


for name in [one for one in COMMANDS if one in sys.argv[1:2]] or COMMANDS:
    module, _, function = COMMANDS[name].partition(":")
    app.command(name)(getattr(import_module(module), function))

if __name__ == "__main__":
    app()
