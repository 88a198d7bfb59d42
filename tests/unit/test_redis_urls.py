"""REDIS_URL: what it means, what is refused, and that no secret in it is ever shown."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_chain import Settings
from rag_chain.errors import ConfigurationError, RagChainError
from rag_chain.redis_address import UNREADABLE_ADDRESS, address_of
from rag_chain.sessions import RedisChatMessageHistory, open_history
from rag_chain.sessions.redis.connect import connect
from rag_chain.sessions.redis.urls import parse

MARK = "sEcReT"
ODD = st.text(st.sampled_from("/?#@:[]%&=+,;~ \t\n\\\"'{}|^`é℀\u200b0x"), max_size=8)
FORMS = [
    "redis://:{0}@127.0.0.1:6379/0",
    "redis://user:{0}@127.0.0.1:6379",
    "redis://{0}@localhost",
    "rediss://:{0}@[::1]:6380/1?health_check_interval=30",
    "redis+sentinel://:{0}@a:26379,b/mymaster/0",
    "redis+sentinel://a:26379/mymaster?sentinel_password={0}",
    "redis+cluster://u:{0}@node:7000",
    "unix://u:{0}@/tmp/redis.sock",
    "redis://h:6379/0?password={0}",
    ":{0}@h:6379",
    "redis:/u:{0}@h",
    "http://u:{0}@h",
    "redis://:{0}@h:port",
]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30)
@given(before=ODD, after=ODD)
def test_no_secret_is_shown_however_odd_the_url(form: str, before: str, after: str) -> None:
    url = form.format(before + MARK + after)
    shown = [address_of(url)]
    try:
        parsed = parse(url)
        shown += [repr(parsed), str(parsed)]
        if parsed.kind != "cluster":
            shown.append(repr(connect(parsed, 1, 5)))
    except RagChainError as error:
        # Not even as its context, which reporters of errors send along.
        shown += [str(error), repr(error), repr(error.__context__)]
    settings = Settings(redis_url=url, journal_path=None)
    shown += [repr(settings), str(settings), str(settings.model_dump()), settings.redis_address]
    assert [text for text in shown if MARK in text] == []


@given(st.text(min_size=1))
def test_an_encoded_password_arrives_as_it_is(password: str) -> None:
    if any(0xD800 <= ord(character) < 0xE000 for character in password):
        return
    encoded = quote(password, safe="")
    for form in ("redis://:{0}@h:6379/0", "redis+sentinel://:{0}@h/s/0", "redis+cluster://:{0}@h"):
        assert parse(form.format(encoded)).options["password"] == password
    sentinel = parse(f"redis+sentinel://h/s/0?sentinel_password={encoded}").sentinel_options
    assert sentinel["password"] == password


@pytest.mark.parametrize("password", ["8/x", "a?b", "a#b", "a b", "a/b@c"])
def test_a_password_that_splits_the_url_is_refused_with_what_to_do(password: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encode"):
        open_history(Settings(redis_url=f"redis://:{password}@h:6379/0", journal_path=None))
    with pytest.raises(ConfigurationError, match="percent-encode"):
        RedisChatMessageHistory("s1", url=f"redis://:{password}@h:6379/0")


@pytest.mark.parametrize(
    ("spellings", "address"),
    [
        (["redis://h", "redis://h/", "redis://H:6379", "redis://:p@h:6379/0", " redis://h?db=0 "], "redis://h:6379/0"),
        (["redis://h/3", "redis://h?db=3", "redis://h:6379/0?db=3"], "redis://h:6379/3"),
        (["redis://", "redis://localhost"], "redis://localhost:6379/0"),
        (["rediss://[::1]:1/2"], "rediss://[::1]:1/2"),
        (
            ["redis+sentinel://b,a:5/s/1", "redis+sentinel://:p@a:5,b:26379/s/1"],
            "redis+sentinel://a:5,b:26379/s/1",
        ),
        (["redis+sentinel://a", "redis+sentinel://a/mymaster"], "redis+sentinel://a:26379/mymaster/0"),
        (["redis+cluster://a:7000", "redis+cluster://a:7000/0"], "redis+cluster://a:7000/0"),
        (["unix:///tmp/r.sock", "unix:///tmp/r.sock?db=0"], "unix:///tmp/r.sock"),
        (["unix:///tmp/r.sock?db=2"], "unix:///tmp/r.sock?db=2"),
        ([""], ""),
        (["redis://h/abc", "redis://h:x", "redis+cluster://h/1", "redis://a,b", "h:6379"], UNREADABLE_ADDRESS),
    ],
)
def test_spellings_of_one_server_have_one_address(spellings: list[str], address: str) -> None:
    assert {address_of(url) for url in spellings} == {address}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h?foo=bar", "option foo is unknown"),
        ("redis://h?decode_responses=True", "option decode_responses"),
        ("redis://h?protocol=3", "option protocol"),
        ("redis://h?ssl_cert_reqs=none", "ssl_cert_reqs needs TLS"),
        ("rediss://h?ssl_cert_reqs=never", "option ssl_cert_reqs"),
        ("rediss://h?ssl_ca_certs=/no/such/file", r"option ssl_ca_certs .*no such file"),
        ("rediss://h?ssl_ca_path=/no/such/folder", "option ssl_ca_path"),
        ("rediss://h?ssl_certfile=/no/such/file", "option ssl_certfile"),
        ("rediss://h?ssl_keyfile=/no/such/file", "option ssl_keyfile"),
        ("rediss://h?ssl_ciphers=none-of-them", "option ssl_ciphers"),
        ("redis://h?socket_timeout=soon", "option socket_timeout"),
        ("redis://h?max_connections=many", "option max_connections"),
        ("redis://h?max_connections=0", "option max_connections"),
        ("redis+sentinel://h/s?sentinel_foo=1", "option sentinel_foo"),
        ("redis+sentinel://h/s?sentinel_ssl_ca_certs=x", "sentinel_ssl_ca_certs needs TLS"),
        ("rediss+sentinel://h/s?sentinel_ssl_ca_certs=/no", "option sentinel_ssl_ca_certs"),
        ("redis+cluster://h?retry_on_timeout=yes", "retry_on_timeout can't be used with a cluster"),
        ("redis://h:0", "port"),
        ("redis://h:70000", "port"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(url: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        open_history(Settings(redis_url=url, journal_path=None))
    assert "REDIS_URL" in str(caught.value)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(pickle.dumps(MARK))
    with pytest.raises(ConfigurationError, match="ssl_ca_certs"):
        parse(f"rediss://h?ssl_ca_certs={file}")


def test_options_have_the_types_that_redis_py_expects() -> None:
    url = parse("rediss://h/2?ssl_cert_reqs=none&ssl_check_hostname=false&health_check_interval=30&socket_timeout=2.5")
    assert url.options == {
        "db": 2, "ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False, "health_check_interval": 30,
        "socket_timeout": 2.5,
    }  # fmt: skip
    bounded = parse("redis://h?max_connections=7&timeout=3")
    assert (bounded.max_connections, bounded.wait, bounded.options) == (7, 3.0, {"db": 0})


def test_sentinels_have_credentials_and_tls_of_their_own_or_inherit_them() -> None:
    own = parse("rediss+sentinel://u:p@h/s?sentinel_username=w&sentinel_password=q&sentinel_ssl=false")
    assert (own.options["password"], own.options["ssl"]) == ("p", True)
    assert (own.sentinel_options, own.inherits_login) == ({"username": "w", "password": "q"}, False)
    inherited = parse("rediss+sentinel://u:p@h/s?ssl_cert_reqs=none")
    assert inherited.inherits_login
    assert inherited.sentinel_options == {"username": "u", "password": "p", "ssl": True, "ssl_cert_reqs": "none"}
