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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from benchmark_capacity import capacity
from benchmark_history import history
from benchmark_ingest import ingest_files
from benchmark_langgraph import langgraph
from benchmark_load import load
from benchmark_retrieval import retrieval
from benchmark_serve import serve
from benchmark_sessions import sessions
from benchmark_streaming import streaming

from rag_chain.cli.command_line import new_app

app = new_app(__doc__)


@app.callback()
def main() -> None:
    """Measure the promises of this package about its speed."""


app.command()(capacity)
app.command()(history)
app.command("ingest")(ingest_files)
app.command()(langgraph)
app.command()(load)
app.command()(retrieval)
app.command()(serve)
app.command()(sessions)
app.command()(streaming)

if __name__ == "__main__":
    app()
