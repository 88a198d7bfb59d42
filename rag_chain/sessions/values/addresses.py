"""One name for a server, for all spellings of its URL, so that its waiting changes are found again."""

from __future__ import annotations

import posixpath
from urllib.parse import parse_qsl

_LOOPBACK = {"", "localhost", "::1", "127.0.0.1", "0.0.0.0"}  # noqa: S104 - read, not bound
_PORT, _SENTINEL_PORT = "6379", "26379"


def name_server(url: str) -> str:
    """Return the server and database of a Redis URL, without credentials and options; empty for an empty URL.

    A port with TLS serves nothing else, so the scheme is ignored; so are the case of the host, the defaults of port and
    database, the order of several hosts, and which name of this machine is used.
    """
    scheme, found, rest = url.strip().partition("://")
    if not found:
        return url.strip()
    rest = rest.rpartition("@")[2]
    rest, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    scheme = scheme.lower().replace("rediss", "redis", 1)
    if scheme == "unix":
        return f"unix://{posixpath.normpath(rest or '/')}?db={_number(options.get('db', '0'))}"
    hosts, _, path = rest.partition("/")
    path = path.strip("/")
    if scheme.endswith("+cluster"):
        return f"{scheme}://{_hosts(hosts, _PORT)}"
    if scheme.endswith("+sentinel"):
        service, _, database = path.partition("/")
        return f"{scheme}://{_hosts(hosts, _SENTINEL_PORT)}/{service or 'mymaster'}/{_number(database or '0')}"
    return f"{scheme}://{_hosts(hosts, _PORT)}/{_number(options.get('db') or path or '0')}"


def _hosts(hosts: str, port: str) -> str:
    return ",".join(sorted({_host(one, port) for one in hosts.split(",")}))


def _host(one: str, port: str) -> str:
    host, colon, number = one.rpartition(":")
    if not colon or number.endswith("]"):
        host, number = one, port
    host = host.strip("[]").lower().rstrip(".")
    host = "127.0.0.1" if host in _LOOPBACK else host
    return f"[{host}]:{number or port}" if ":" in host else f"{host}:{number or port}"


def _number(text: str) -> str:
    return str(int(text)) if text.isdecimal() else text
