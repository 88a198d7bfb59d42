"""The kit as a whole: what it says of rag_chain while faults happen, and of histories that are broken on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag_chain.testing.faults import FAULTS
from rag_chain.testing.matrix import Result, run_matrix, skip_reason
from rag_chain.testing.operations import read_operations
from rag_chain.testing.plan import Shape
from rag_chain.testing.servers import NotOwnServerError, RedisServer


def results(history: str, faults: list[str], shape: Shape, folder: Path, **more: str) -> list[Result]:
    return list(run_matrix(history, faults, shape, folder, **more))  # type: ignore[arg-type]


def test_no_turn_of_rag_chain_is_lost_while_servers_and_connections_fail(tmp_path: Path) -> None:
    faults = ["kill", "half-reply"]
    found = results("rag_chain", faults, Shape(turns=60, seed=2, pause=0.01), tmp_path)
    assert [one.fault for one in found] == faults
    for one in found:
        assert one.verdict.findings == []
        assert one.verdict.acknowledged + one.verdict.cancelled == 60
        assert one.began < one.ended <= one.seconds
        assert sum(one.timeline) == one.verdict.acknowledged
    operations = read_operations(tmp_path / "rag_chain-kill.jsonl")
    assert operations[0]["op"] == "run", "the operations are written down, with what replays them"
    assert operations[0]["shape"]["seed"] == 2


def test_a_broken_history_is_found_out_in_each_of_its_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))
    # One process, so that the counts of the broken history are exact; no shared session, so that its order is sure.
    shape = Shape(
        turns=100, seed=4, processes=1, threads=2, tasks=0, sessions=5, shared=0, cancelled=0, erased=0, pause=0
    )
    [found] = results("broken_histories:open_history", ["none"], shape, tmp_path)
    lines = (line.partition(": ") for line in found.verdict.findings)
    kinds = {(kind, text[:2]) for kind, _, text in lines}
    found_of = {session: {kind for kind, of in kinds if of == session} for session in ("s0", "s1", "s2", "s3", "s4")}
    assert found_of["s0"] == {"lost", "falsely reported"}
    assert found_of["s1"] == {"doubled"}
    # A turn that is kept back is not there right after its answer, and the last one of all may be kept back for ever.
    assert {"out of order"} <= found_of["s2"] <= {"out of order", "falsely reported", "lost"}
    # What is stored late may change places, and the process may end before it is stored.
    assert {"falsely reported"} <= found_of["s3"] <= {"out of order", "falsely reported", "lost"}
    assert found_of["s4"] == set()


def test_no_fault_that_harms_a_server_runs_on_one_of_others(redis_server: RedisServer, tmp_path: Path) -> None:
    with pytest.raises(NotOwnServerError, match="kill, flushall would harm it"):
        results("rag_chain", ["cut", "kill", "flushall"], Shape(turns=20), tmp_path, url=redis_server.url)


def test_a_fault_of_the_way_runs_on_a_given_server(redis_server: RedisServer, redis_url: str, tmp_path: Path) -> None:
    shape = Shape(turns=20, seed=1, label="faults-1-", pause=0)
    [found] = results("rag_chain", ["cut"], shape, tmp_path, url=redis_url)
    assert found.verdict.findings == []


def test_every_fault_is_run_over_rag_chain() -> None:
    assert len(FAULTS) >= 15
    assert {skip_reason(one, "rag_chain") for one in FAULTS.values()} <= {
        "", "needs a mount namespace (unshare), which this system does not allow"
    }  # fmt: skip
    assert all(skip_reason(one, "in-memory") for one in FAULTS.values() if one.side == "server")
