"""One server has one name in the journal, however its URL is spelled."""

from __future__ import annotations

import pytest

from rag_chain.sessions.values.addresses import name_server


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        (
            "redis://127.0.0.1:6379/0",
            ["redis://", "redis://localhost", "redis://LOCALHOST:6379", "redis://[::1]/0", "rediss://127.0.0.1/",
             "redis://user:p%40ss/word@localhost:6379/0?protocol=3", " redis://localhost.:6379/00 "],
        ),
        ("redis://h:7000/2", ["redis://h:7000/2", "redis://H:7000?db=2", "redis://h:7000/1?db=2", "REDIS://h:7000/2/"]),
        ("unix:///run/redis.sock?db=0", ["unix:///run/redis.sock", "unix:///run//redis.sock?db=0"]),
        (
            "redis+sentinel://a:26379,b:26380/mymaster/0",
            ["redis+sentinel://a,b:26380", "redis+sentinel://:pw@b:26380,A:26379/mymaster/0"],
        ),
        ("redis+cluster://a:6379,b:6379", ["redis+cluster://b,a", "rediss+cluster://a:6379,b:6379/0"]),
        ("", [""]),
    ],
)  # fmt: skip
def test_spellings_of_one_server(name: str, spellings: list[str]) -> None:
    assert {name_server(one) for one in spellings} == {name}
    assert name_server(name) == name, "a name is a spelling too"


def test_other_servers_and_databases_have_other_names() -> None:
    urls = ["redis://h", "redis://h/1", "redis://h:6380", "redis://i", "unix:///h", "redis+cluster://h"]
    assert len({name_server(url) for url in urls}) == len(urls)
