"""The checks of this machine: each a function of the facts that were read."""

from __future__ import annotations

from rag_chain.operations.doctor.findings import Finding, Level
from rag_chain.operations.doctor.local_facts import IndexFacts, JournalFacts, ModelFacts

FULL, NEARLY_FULL = 0.95, 0.7
LATE_SECONDS = 60
OLD_DAYS = 90
LEAST_DISK = 50_000_000


def check_journal(facts: JournalFacts) -> Finding:
    """Check that the journal can be used and has room."""
    if facts.path is None:
        why = "While Redis is away, turns are only in this process's memory: its end loses them."
        return Finding("yellow", "journal", "There is no journal (RAG_JOURNAL_PATH is empty).", why,
                       "set RAG_JOURNAL_PATH to a file on a local disk")  # fmt: skip
    if facts.size is None or facts.error:
        why = "While Redis is away, turns are only in this process's memory."
        return Finding("red", "journal", facts.error or f"{facts.path} can't be read.", why,
                       f"ls -l {facts.path}; chown it to this user, or set another RAG_JOURNAL_PATH")  # fmt: skip
    share = facts.size.bytes / facts.size.limit
    found = f"{facts.size.bytes / 1e6:.1f} of {facts.size.limit / 1e6:.0f} MB in {facts.path}."
    level: Level = "red" if share >= FULL else "yellow" if share >= NEARLY_FULL else "green"
    if level == "green":
        return Finding(level, "journal", found)
    return Finding(level, "journal", found, "A full journal refuses turns while Redis is away.",
                   "rag-chain sessions journal --replay; or raise RAG_JOURNAL_MAX_MB")  # fmt: skip


def check_waiting(facts: JournalFacts, *, is_redis_away: bool) -> Finding:
    """Check that no turn waits for a Redis that is available, or for another server."""
    size = facts.size
    others = [one for one in facts.stores if not one.is_in_use]
    if size is not None and size.waiting:
        age = (size.oldest_ms or 0) / 1000
        found = f"{size.waiting} changes wait for Redis, the oldest for {format_age(age)}."
        if is_redis_away:
            return Finding("yellow", "waiting", found, "They are only on this disk until Redis is back.",
                           "start Redis again; they are replayed automatically")  # fmt: skip
        if age > LATE_SECONDS:
            why = "Redis is available but does not have them: no process runs here, or Redis refuses them."
            return Finding("red", "waiting", found, why, "rag-chain sessions journal --replay")
        return Finding("green", "waiting", found)
    if others:
        names = ", ".join(f"{one.entries} for {one.address or 'no Redis'} (prefix {one.prefix})" for one in others)
        why = "They are replayed only while that server and prefix are in the settings."
        return Finding("yellow", "waiting", f"Changes for other stores: {names}.", why,
                       "REDIS_URL=THAT-SERVER rag-chain sessions journal --replay")  # fmt: skip
    return Finding("green", "waiting", "No change waits for Redis.")


def check_disk(facts: JournalFacts) -> Finding:
    """Check that the disk has room for the growth of the journal."""
    if facts.path is None or facts.disk_free is None:
        return Finding("green", "disk", "Not needed: there is no journal.") if facts.path is None else Finding(
            "yellow", "disk", "Unknown: the disk of the journal can't be read.", "A full disk refuses turns.",
            f"df {facts.path}",
        )  # fmt: skip
    found = f"{facts.disk_free / 1e6:.0f} MB left on the disk of {facts.path}."
    left = facts.size.limit - facts.size.bytes if facts.size else LEAST_DISK
    mend = f"free the disk (df -h {facts.path.parent}), or lower RAG_JOURNAL_MAX_MB"
    if facts.disk_free < LEAST_DISK:
        return Finding("red", "disk", found, "While Redis is away, turns can't be journaled.", mend)
    if facts.disk_free < left:
        why = f"The journal may grow by {left / 1e6:.0f} MB, more than the disk has left."
        return Finding("yellow", "disk", found, why, mend)
    return Finding("green", "disk", found)


def check_index(facts: IndexFacts) -> Finding:
    """Check that the index can be opened with the embedding model of the settings, and is not outdated."""
    if not facts.exists:
        return Finding("yellow", "index", f"There is no index in {facts.path}.", "No question can be answered from it.",
                       "rag-chain ingest PATH..., or set RAG_INDEX_DIR or RAG_INDEX_URL")  # fmt: skip
    if facts.error:
        return Finding(
            "red", "index", facts.error, "No question can be answered.", "rag-chain ingest PATH... --rebuild"
        )
    if facts.model != facts.wanted:
        return Finding(
            "red", "index", f"Built with {facts.model}; the settings name {facts.wanted}.",
            "Vectors of two models can't be compared: the index is not opened.",
            f"set RAG_EMBEDDING_MODEL={facts.model}, or rag-chain ingest PATH... --rebuild",
        )  # fmt: skip
    age = facts.age or 0.0
    written = "" if facts.age is None else f", written {format_age(age)} ago"
    found = f"{facts.chunks} chunks by {facts.model}{written}."
    if age > OLD_DAYS * 86400:
        return Finding("yellow", "index", found, "Answers may cite documents that have changed.",
                       "rag-chain ingest PATH... (only changed files are read)")  # fmt: skip
    return Finding("green", "index", found)


def check_model(facts: ModelFacts) -> Finding:
    """Check that the chat model answers."""
    if facts.error:
        return Finding("red", "chat model", facts.error, "Every turn ends as failed.",
                       "set RAG_CHAT_MODEL and its key; local:extractive needs neither key nor network")  # fmt: skip
    if not facts.was_asked:
        return Finding("green", "chat model", f"{facts.name} is set up; it was not called.")
    return Finding("green", "chat model", f"{facts.name} answered in {facts.seconds:.1f} s.")


def format_age(seconds: float) -> str:
    """Format seconds in the largest unit that fits, such as ``3 hours``."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
