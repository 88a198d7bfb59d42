"""The whole examination: read the facts of both sides, then judge them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from rag_chain.errors import HistoryError, HistoryUnavailableError
from rag_chain.operations.doctor.findings import Finding, Report
from rag_chain.operations.doctor.local_checks import (
    check_disk,
    check_index,
    check_journal,
    check_model,
    check_waiting,
)
from rag_chain.operations.doctor.local_facts import (
    IndexFacts,
    JournalFacts,
    ModelFacts,
    aask_model,
    ask_model,
    read_index,
    read_journal,
    resolve,
)
from rag_chain.operations.doctor.server_checks import Expected, check_server, network_of
from rag_chain.operations.doctor.server_facts import ServerFacts, arun_reading, read_servers, run_reading
from rag_chain.sessions.redis.urls import RedisUrl, parse
from rag_chain.settings import Settings


def examine(settings: Settings, *, model: bool = True, now: Callable[[], float] = time.time) -> Report:
    """Examine the Redis server of the settings and this machine. Nothing is changed.

    Args:
        settings: names the server, the journal, the index and the model.
        model: whether to send a provider's chat model a short question, which may cost a few tokens.
        now: this machine's wall clock, in seconds since 1970.

    Raises:
        ConfigurationError: REDIS_URL can't be used.
    """
    url = _parse(settings)
    servers: Sequence[ServerFacts] | HistoryError | None = None
    if url is not None:
        try:
            servers = run_reading(read_servers(url, settings.key_prefix, now), url, settings.redis_timeout)
        except HistoryError as error:
            servers = error
    return _judge(settings, url, servers, *_read_disk(settings, url), ask_model(settings, ask=model))


async def aexamine(settings: Settings, *, model: bool = True, now: Callable[[], float] = time.time) -> Report:
    """Async version of ``examine``; files are read in a thread."""
    url = _parse(settings)
    servers: Sequence[ServerFacts] | HistoryError | None = None
    if url is not None:
        try:
            reading = read_servers(url, settings.key_prefix, now)
            servers = await arun_reading(reading, url, settings.redis_timeout)
        except HistoryError as error:
            servers = error
    local = await asyncio.to_thread(_read_disk, settings, url)
    return _judge(settings, url, servers, *local, await aask_model(settings, ask=model))


def _parse(settings: Settings) -> RedisUrl | None:
    text = settings.redis_url.get_secret_value().strip()
    return parse(text) if text else None


def _read_disk(settings: Settings, url: RedisUrl | None) -> tuple[JournalFacts, IndexFacts, list[str]]:
    return read_journal(settings), read_index(settings), resolve(url) if url else []


def _judge(
    settings: Settings,
    url: RedisUrl | None,
    servers: Sequence[ServerFacts] | HistoryError | None,
    journal: JournalFacts,
    index: IndexFacts,
    addresses: list[str],
    model: ModelFacts,
) -> Report:
    findings: list[Finding] = []
    if url is None:
        findings.append(_without_redis(journal))
    elif isinstance(servers, HistoryError):
        findings.append(_unreachable(servers, url, journal))
    else:
        expected = Expected(
            settings.key_prefix, url.kind, bool(url.options.get("ssl")), network_of(addresses), settings.redis_wait,
            settings.redis_timeout,
        )  # fmt: skip
        findings += [one for facts in servers or () for one in check_server(facts, expected)]
    findings += [
        check_journal(journal),
        check_waiting(journal, is_redis_away=isinstance(servers, HistoryError)),
        check_disk(journal),
        check_index(index),
        check_model(model),
    ]
    return Report.of(findings)


def _without_redis(journal: JournalFacts) -> Finding:
    place = f"in the journal {journal.path}" if journal.path else "only in this process's memory"
    return Finding(
        "yellow", "redis", f"REDIS_URL is empty: sessions are kept {place}.",
        "Other machines do not see them, and a lost disk loses them.", "set REDIS_URL",
    )  # fmt: skip


def _unreachable(error: HistoryError, url: RedisUrl, journal: JournalFacts) -> Finding:
    if isinstance(error, HistoryUnavailableError):
        kept = "turns go to the journal" if journal.path and not journal.error else "turns are kept only in memory"
        host = " -p ".join(str(one) for one in url.hosts[0]) if url.hosts else "SOCKET"
        return Finding("red", "redis", str(error), f"Nothing of the server is known; {kept}.",
                       f"redis-cli -h {host} PING; start the server, or correct REDIS_URL", url.address)  # fmt: skip
    return Finding("red", "redis", str(error), "Waiting does not fix this.", "correct what it names", url.address)
