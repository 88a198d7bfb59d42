"""The checks of the doctor, each a function of facts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rag_chain
from rag_chain.operations.doctor import Finding, Report
from rag_chain.operations.doctor.local_checks import (
    check_disk,
    check_index,
    check_journal,
    check_model,
    check_waiting,
    format_age,
)
from rag_chain.operations.doctor.local_facts import IndexFacts, JournalFacts, ModelFacts
from rag_chain.operations.doctor.rights import IN_SCRIPTS, OUTSIDE, least_rights
from rag_chain.operations.doctor.server_checks import CHECKS, Expected, check_server, network_of
from rag_chain.operations.doctor.server_facts import ServerFacts, parse_primaries
from rag_chain.sessions.values.turns import JournalSize, JournalStore

INFO = {
    "redis_version": "7.4.1", "role": "master", "aof_enabled": 1, "maxmemory": 10**9, "used_memory": 10**8,
    "used_memory_rss": 11 * 10**7, "mem_fragmentation_ratio": 1.1, "maxmemory_policy": "noeviction", "evicted_keys": 0,
    "cluster_enabled": 0,
}  # fmt: skip
WELL = ServerFacts(
    "redis://h:6379/0", INFO, {"appendfsync": "everysec", "save": "", "bind": "127.0.0.1", "protected-mode": "yes"},
    round_trips=(0.001, 0.9), skew=0.2, user="app", has_open_default=False, allowed=(),
)  # fmt: skip
EXPECTED = Expected("message_store:")
OK_CLUSTER = {"cluster_state": "ok", "cluster_slots_assigned": "16384"}


def levels(facts: ServerFacts, expected: Expected = EXPECTED) -> dict[str, str]:
    """The checks that are not green, with their levels."""
    return {one.check: one.level for one in check_server(facts, expected) if one.level != "green"}


def test_a_healthy_server_has_no_finding() -> None:
    assert levels(WELL) == {}
    assert len(check_server(WELL, EXPECTED)) == len(CHECKS) + 2


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "6.0.9"}, {"version": "red"}),
        ({"aof_enabled": 0}, {"persistence": "red"}),
        ({"aof_last_write_status": "err"}, {"persistence": "red"}),
        ({"rdb_last_bgsave_status": "err"}, {"persistence": "red"}),
        ({"maxmemory_policy": "volatile-lru"}, {"eviction": "red"}),
        ({"maxmemory_policy": "allkeys-lfu"}, {"eviction": "red"}),
        ({"evicted_keys": 3}, {"eviction": "yellow"}),
        ({"maxmemory": 0}, {"memory": "yellow"}),
        ({"used_memory": 96 * 10**7, "used_memory_rss": 10**9}, {"memory": "red"}),
        ({"used_memory": 81 * 10**7, "used_memory_rss": 82 * 10**7}, {"memory": "yellow"}),
        ({"mem_fragmentation_ratio": 3.0, "used_memory_rss": 3 * 10**8}, {"fragmentation": "yellow"}),
        ({"mem_fragmentation_ratio": 3.0, "used_memory": 10**6, "used_memory_rss": 3 * 10**6}, {}),
        (
            {"mem_fragmentation_ratio": 0.5, "used_memory": 2 * 10**8, "used_memory_rss": 10**8},
            {"fragmentation": "red"},
        ),
        ({"role": "slave", "master_link_status": "down"}, {"replicas": "red"}),
        ({"slave0": {"ip": "h", "port": 1, "state": "online", "lag": 60}}, {"replicas": "yellow"}),
        ({"slave0": {"ip": "h", "port": 1, "state": "wait_bgsave", "lag": 0}}, {"replicas": "yellow"}),
        ({"slave0": {"ip": "h", "port": 1, "state": "online", "lag": 1}}, {}),
        ({"cluster_enabled": 1}, {"cluster": "yellow"}),
    ],
)
def test_faults_in_what_info_says(info: dict[str, Any], expected: dict[str, str]) -> None:
    assert levels(replace(WELL, info={**INFO, **info})) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config": {**WELL.config, "appendfsync": "no"}}, {"fsync": "yellow"}),
        ({"config": {}}, {"fsync": "yellow"}),
        ({"config": {**WELL.config, "min-replicas-to-write": "1"}}, {"replicas": "red"}),
        ({"info": {**INFO, "aof_enabled": 0}, "config": {"save": "60 1"}}, {"persistence": "yellow"}),
        ({"info": {**INFO, "aof_enabled": 0}, "config": {}}, {"persistence": "yellow"}),
        ({"round_trips": (0.02, 0.03)}, {"latency": "yellow"}),
        ({"round_trips": (0.7,)}, {"latency": "red"}),
        ({"skew": -5.0}, {"clock": "yellow"}),
        ({"skew": 5.0, "skew_error": 4.5}, {}),
        ({"skew": 3600.0}, {"clock": "red"}),
        ({"has_open_default": True}, {}),
        ({"has_open_default": None}, {"password": "yellow"}),
        ({"has_open_default": True, "config": {**WELL.config, "bind": "* -::*"}}, {}),
        ({"has_open_default": True, "config": {**WELL.config, "bind": "0.0.0.0", "protected-mode": "no"}},
         {"password": "red"}),
        ({"refused": None}, {"rights": "red"}),
        ({"refused": ("HSET",)}, {"rights": "red"}),
        ({"refused_keys": ("index:*",)}, {"rights": "red"}),
        ({"allowed": ("FLUSHALL",)}, {"excess rights": "yellow"}),
        ({"allowed": None}, {}),
    ],
)  # fmt: skip
def test_faults_in_what_else_was_read(change: dict[str, Any], expected: dict[str, str]) -> None:
    assert levels(replace(WELL, **change)) == expected


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (replace(EXPECTED, wait="replicas:1"), {"replicas": "red"}),
        (replace(EXPECTED, kind="sentinel"), {"replicas": "yellow"}),
        (replace(EXPECTED, network="private"), {"tls": "yellow"}),
        (replace(EXPECTED, network="public"), {"tls": "red"}),
        (replace(EXPECTED, network="public", has_tls=True), {}),
        (replace(EXPECTED, network=""), {"tls": "yellow"}),
        (replace(EXPECTED, timeout=0.001), {"latency": "red"}),
    ],
)
def test_the_settings_decide_too(expected: Expected, found: dict[str, str]) -> None:
    assert levels(WELL, expected) == found


def test_what_fsync_needs() -> None:
    expected = replace(EXPECTED, wait="fsync")
    assert levels(WELL, expected) == {}
    old = replace(WELL, info={**INFO, "redis_version": "7.0.1", "aof_enabled": 0})
    assert levels(old, expected) == {"version": "red", "persistence": "red"}


def test_the_slots_of_a_cluster() -> None:
    facts = replace(WELL, info={**INFO, "cluster_enabled": 1}, cluster=OK_CLUSTER)
    cluster = replace(EXPECTED, kind="cluster")
    assert levels(facts, cluster) == {}
    assert levels(facts) == {"cluster": "red"}, "the URL is that of one server"
    for bad in ({"cluster_state": "fail"}, {"cluster_slots_assigned": "16000"}, {"cluster_slots_fail": "1"}):
        assert levels(replace(facts, cluster={**OK_CLUSTER, **bad}), cluster) == {"cluster": "red"}
    assert levels(replace(facts, cluster={**OK_CLUSTER, "cluster_slots_pfail": "1"}), cluster) == {"cluster": "yellow"}


def test_a_server_that_says_nothing_is_not_known_to_be_well() -> None:
    found = levels(ServerFacts("h"))
    assert {"version", "persistence", "eviction", "memory", "replicas", "clock", "latency"} <= set(found)
    assert set(found.values()) == {"yellow"}


def test_an_open_server_on_a_network() -> None:
    facts = replace(WELL, has_open_default=True)
    assert levels(facts, replace(EXPECTED, network="public", has_tls=True)) == {"password": "red"}
    assert levels(facts, replace(EXPECTED, network="private", has_tls=True)) == {"password": "yellow"}


@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["127.0.0.1", "::1"], "local"), (["10.0.0.1", "127.0.0.1"], "private"), (["fe80::1%eth0"], "private"),
        (["8.8.8.8", "10.0.0.1"], "public"), ([], ""),
    ],
)  # fmt: skip
def test_how_far_a_server_is(addresses: list[str], network: str) -> None:
    assert network_of(addresses) == network


def test_primaries_of_a_cluster() -> None:
    nodes = (
        "a1 127.0.0.1:7002@17002 myself,master - 0 0 1 connected 0-5460\n"
        "a2 127.0.0.1:7001@17001,host master - 0 0 2 connected\n"
        "a3 127.0.0.1:7003@17003 slave a1 0 0 1 connected\n"
        "a4 :7004@17004 master,fail - 0 0 3 disconnected\n"
        "a5 :7005@17005 master - 0 0 3 connected\nrubbish\n"
    )
    assert parse_primaries(nodes) == [("", 7005), ("127.0.0.1", 7001), ("127.0.0.1", 7002)]


def test_every_finding_that_is_not_green_says_why_and_what_to_do() -> None:
    found = [
        *check_server(ServerFacts("h"), EXPECTED),
        *check_server(replace(WELL, allowed=("KEYS",), refused=None, skew=99.0), replace(EXPECTED, network="public")),
    ]
    for one in found:
        assert one.found.endswith(".")
        assert one.level == "green" or (one.why and one.mend)


def test_the_rights_are_those_of_the_scripts() -> None:
    folder = Path(rag_chain.__file__).parent / "sessions" / "redis" / "lua"
    called = set()
    for path in folder.glob("*.lua"):
        for arguments in re.findall(r"redis\.p?call\(([^,)]*)", path.read_text()):
            called |= set(re.findall(r"'([A-Z]+)'", arguments))
    # INFO is called where the user may, to tell a lost session from one that never was.
    assert called - {"INFO"} <= {*IN_SCRIPTS, *OUTSIDE}
    assert "~other:*" in least_rights("other:").split()
    assert "+flushall" not in least_rights("x:")


STORE = JournalStore("redis://h:6379/0", "message_store:", 1, 2, is_in_use=True)
JOURNAL = JournalFacts(Path("/j"), JournalSize(10**6, 10**8, 0, None), (), "", 10**10)


@pytest.mark.parametrize(
    ("facts", "journal", "waiting", "disk"),
    [
        (JOURNAL, "green", "green", "green"),
        (JournalFacts(None), "yellow", "green", "green"),
        (replace(JOURNAL, size=None, error="damaged"), "red", "green", "green"),
        (replace(JOURNAL, error="may not be written"), "red", "green", "green"),
        (replace(JOURNAL, size=JournalSize(8 * 10**7, 10**8, 0, None)), "yellow", "green", "green"),
        (replace(JOURNAL, size=JournalSize(99 * 10**6, 10**8, 0, None)), "red", "green", "green"),
        (replace(JOURNAL, size=JournalSize(10**6, 10**8, 2, 5_000)), "green", "green", "green"),
        (replace(JOURNAL, size=JournalSize(10**6, 10**8, 2, 500_000)), "green", "red", "green"),
        (replace(JOURNAL, stores=(replace(STORE, is_in_use=False),)), "green", "yellow", "green"),
        (replace(JOURNAL, disk_free=10**6), "green", "green", "red"),
        (replace(JOURNAL, disk_free=6 * 10**7), "green", "green", "yellow"),
        (replace(JOURNAL, disk_free=None), "green", "green", "yellow"),
    ],
)
def test_the_journal(facts: JournalFacts, journal: str, waiting: str, disk: str) -> None:
    found = (check_journal(facts), check_waiting(facts, is_redis_away=False), check_disk(facts))
    assert tuple(one.level for one in found) == (journal, waiting, disk)


def test_what_waits_is_no_fault_while_redis_is_away() -> None:
    facts = replace(JOURNAL, size=JournalSize(10**6, 10**8, 2, 500_000))
    assert check_waiting(facts, is_redis_away=True).level == "yellow"


def test_the_index_and_the_model() -> None:
    index = IndexFacts(Path("/i"), True, "local:minilm", "local:minilm", 5, 3600.0)
    assert check_index(index).level == "green"
    assert check_index(replace(index, exists=False)).level == "yellow"
    assert check_index(replace(index, age=100 * 86400.0)).level == "yellow"
    assert check_index(replace(index, wanted="openai:x")).level == "red"
    assert check_index(replace(index, error="damaged")).level == "red"
    assert check_model(ModelFacts("openai:x", True, 1.0)).level == "green"
    assert check_model(ModelFacts("local:extractive", False)).found.endswith("it was not called.")
    assert check_model(ModelFacts("openai:x", True, error="no key")).level == "red"
    assert [format_age(one) for one in (5, 119, 121, 7300, 180_000)] == [
        "5 seconds", "119 seconds", "2 minutes", "2 hours", "2 days",
    ]  # fmt: skip


def test_a_report_has_the_worst_first() -> None:
    report = Report.of([Finding("green", "a", "."), Finding("red", "b", "."), Finding("yellow", "c", ".")])
    assert [one.check for one in report.findings] == ["b", "c", "a"]
    assert (report.is_well, report.counts) == (False, {"red": 1, "yellow": 1, "green": 1})
