"""The tables of sizes in ``docs/deployment.md``, out of ``results/capacity.json`` and ``results/retrieval.json``."""

from __future__ import annotations

from math import ceil
from typing import Any

from docs_figures import result

USERS, TURNS_A_DAY, DAYS, PEAK, BUSY, PASSAGES = 1_000_000, 10, 20, 5, 0.6, 1_000_000_000
"""The large system: ten million sessions are kept, of 20 turns each."""
MACHINE_GB, MACHINE_CORES = 64, 16
OVERHEAD = 1.25
"""Memory of Redis over that of its keys: fragmentation, and the buffers of clients."""
COMPONENTS, LINKS = 384, 18
"""Of a vector of ``local:minilm``, and of a vector's neighbours in the graph (M) as Milvus' AUTOINDEX sets it."""
LARGEST = "1000000"
"""Passages of the largest measured index."""


def sizes() -> str:
    """What one session, turn and passage took, and how many of them a unit of a resource carries."""
    found, index = result("capacity")["result"], result("retrieval")["result"][LARGEST]
    shape, redis, service, rates = found["shape"], found["redis"], found["service"], found["rates"]
    disk, memory = (round(index[what] * 1e6 / int(LARGEST)) for what in ("disk_mb", "open_mb"))
    rows = [
        (f"a session of {shape['turns_a_session']} turns in Redis", _kb(redis["bytes_a_session"]),
         f"{rates['sessions_a_gb']:,} sessions a GB"),
        ("a turn's events in Redis, for two minutes", _kb(redis["event_bytes_a_turn"]),
         f"{rates['event_mb_at_one_turn_a_second']:.1f} MB for each turn a second"),
        ("a turn in the append-only file, until it is rewritten", _kb(redis["aof_bytes_a_turn"]),
         f"{rates['aof_gb_a_million_turns']:.0f} GB a million turns"),
        ("a turn in the journal", _kb(found["journal"]["bytes_a_turn"]),
         f"{rates['journal_turns_in_256_mb']:,} turns in 256 MB (`RAG_JOURNAL_MAX_MB`)"),
        ("processor time of a turn, service", f"{service['cpu_ms_a_turn']:.0f} ms",
         f"{rates['service_turns_a_second_a_core']:.0f} turns a second a core"),
        ("processor time of a turn, Redis", f"{redis['cpu_ms_a_turn']:.1f} ms",
         f"{rates['redis_turns_a_second_a_core']:,} turns a second for its one thread"),
        ("memory of one process of the service", f"{service['process_mb']} MB", "add its copy of the vectors"),
        ("a passage on disk", f"{disk:,} bytes", f"{round(1e9 / disk):,} passages a GB"),
        ("a passage in the memory of each process", f"{memory:,} bytes", f"{round(1e9 / memory):,} passages a GB"),
        ("embedding of a passage by `local:minilm`", f"{found['embedding']['cpu_ms_a_passage']:.1f} ms",
         f"{rates['embedding_core_hours_a_million_passages']:.1f} core hours a million passages"),
        ("building the index, vectors given", f"{index['build_seconds'] / int(LARGEST) * 1000:.2f} ms",
         f"{index['build_seconds'] / 60:.1f} minutes a million passages, two cores"),
    ]  # fmt: skip
    lines = ["| what | took | so |", "| --- | ---: | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    capacity, retrieval = result("capacity"), result("retrieval")
    machine = capacity["machine"]
    lines += [
        "",
        f"Questions had {shape['question_characters']} characters, answers {shape['answer_characters']:,}, of "
        f"{shape['sessions']} sessions over {service['index_passages']} passages; a passage that was embedded had "
        f"{found['embedding']['characters_a_passage']} characters.",
        f"`{capacity['command']}` on {capacity['date']}, the index by `{retrieval['command']}` on {retrieval['date']} "
        f"({int(LARGEST):,} passages): {machine['cores']} cores, {machine['system']}, Python {machine['python']}.",
    ]
    return "\n".join(lines)


def growth() -> str:
    """What ten million sessions and a billion passages would take, by those sizes."""
    found, index = result("capacity")["result"], result("retrieval")["result"][LARGEST]
    redis, service, embedding = found["redis"], found["service"], found["embedding"]
    turns_a_session = found["shape"]["turns_a_session"]
    sessions = USERS * TURNS_A_DAY * DAYS / turns_a_session
    turns = USERS * TURNS_A_DAY / 86_400 * PEAK
    kept = sessions * redis["bytes_a_session"] * OVERHEAD / 1e9
    events = turns * redis["event_bytes_a_turn"] * 120 / 1e9
    nodes = ceil(max((kept + events) * 2 / MACHINE_GB, turns * redis["cpu_ms_a_turn"] / 1000 / BUSY))
    cores = turns * service["cpu_ms_a_turn"] / 1000 / BUSY
    memory, disk = (index[what] * 1e6 / int(LARGEST) * PASSAGES / 1e9 for what in ("open_mb", "disk_mb"))
    hnsw = PASSAGES * (4 * COMPONENTS + 8 * LINKS) / 1e9
    hours = PASSAGES * embedding["cpu_ms_a_passage"] / 3_600_000
    rows = [
        ("sessions kept", "users × turns a day × days ÷ turns a session", f"{sessions:,.0f}"),
        ("turns a second at the peak", f"users × turns a day ÷ 86,400 × {PEAK}", f"{turns:,.0f}"),
        ("Redis, memory of sessions", f"sessions × {_kb(redis['bytes_a_session'])} × {OVERHEAD}", f"{kept:,.0f} GB"),
        ("Redis, memory of events", f"turns a second × 120 × {_kb(redis['event_bytes_a_turn'])}", f"{events:,.1f} GB"),
        ("Redis, primaries", f"the larger of memory × 2 ÷ {MACHINE_GB} GB and turns a second × "
         f"{redis['cpu_ms_a_turn']:.1f} ms ÷ {BUSY}", f"{nodes} machines of {MACHINE_GB} GB, and a replica of each"),
        ("service", f"turns a second × {service['cpu_ms_a_turn']:.0f} ms ÷ {BUSY}",
         f"{cores:,.0f} cores, {ceil(cores / MACHINE_CORES)} machines of {MACHINE_CORES}"),
        ("index in a folder, vectors with 8 bits a component",
         f"passages × {index['open_mb'] * 1e6 / int(LARGEST):,.0f} bytes",
         f"{memory:,.0f} GB of memory, {ceil(memory * OVERHEAD / MACHINE_GB)} machines of {MACHINE_GB} GB a copy"),
        ("index in Milvus, HNSW as by default", f"passages × (4 × {COMPONENTS} + 8 × {LINKS}) bytes",
         f"{hnsw:,.0f} GB of memory, {ceil(hnsw * OVERHEAD / MACHINE_GB)} query nodes of {MACHINE_GB} GB a copy"),
        ("index, disk", f"passages × {index['disk_mb'] * 1e6 / int(LARGEST):,.0f} bytes", f"{disk:,.0f} GB a copy"),
        ("embedding, once", f"passages × {embedding['cpu_ms_a_passage']:.1f} ms",
         f"{hours:,.0f} core hours: {hours / MACHINE_CORES / 24 / 10:,.1f} days on 10 machines of {MACHINE_CORES}"),
    ]  # fmt: skip
    return "\n".join(
        ["| what | formula | result |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    )


def _kb(count: Any) -> str:
    return f"{count / 1000:,.1f} kB"
