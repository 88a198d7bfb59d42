"""Parse and check REDIS_URL. No connection is opened here.

=============================================================  ==================================================
``redis://user:password@host:6379/0``                          one server; ``rediss://`` with TLS
``unix:///path/redis.sock?db=0``                               one server, by its socket
``redis+sentinel://user:password@host,host:26379/service/0``   the master that Sentinel names
``redis+cluster://user:password@host:7000``                    a cluster, by any of its nodes
=============================================================  ==================================================

Options follow a ``?``, as redis-py reads them. With Sentinel, an option that begins with ``sentinel_`` is for the
connections to the sentinels: ``sentinel_username``, ``sentinel_password``, ``sentinel_ssl``, ``sentinel_ssl_ca_certs``.
"""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import redis
import redis.asyncio

from rag_chain.errors import ConfigurationError
from rag_chain.redis_address import UNREADABLE_ADDRESS, address_of

_TLS_OPTIONS = (
    "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password",
    "ssl_check_hostname", "ssl_ciphers",
)  # fmt: skip
_LOGIN = ("username", "password")
_OPTIONS = (
    "db", *_LOGIN, "client_name", "socket_timeout", "socket_connect_timeout", "socket_keepalive",
    "health_check_interval", "retry_on_timeout", "max_connections", "timeout", *_TLS_OPTIONS,
)  # fmt: skip
_IN_CLUSTER = inspect.signature(redis.asyncio.RedisCluster.__init__).parameters
_SENTINEL = "sentinel_"
_FORMS = (
    "redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, unix:///PATH, "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or redis+cluster://HOST:PORT"
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A checked URL.

    Args:
        kind: ``server``, ``sentinel`` or ``cluster``.
        address: see ``address_of``; free of secrets.
        hosts: hosts with their ports; none with a unix socket.
        service: the sentinels' name of the master.
        options: keyword arguments of a redis-py client of the server.
        sentinel_options: the same for the sentinels.
        max_connections: concurrent calls, ``None``: the default.
        wait: seconds that a call waits for a connection, ``None``: the default.
        inherits_login: the sentinels are tried with the server's credentials, because the URL has none for them.
    """

    kind: str
    address: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)
    max_connections: int | None = None
    wait: float | None = None
    inherits_login: bool = False


def parse(url: str) -> RedisUrl:
    """Return the parts of a Redis URL. Files that its options name are read, no connection is opened.

    Errors quote only names of options from the URL: any other part may be a secret.

    Raises:
        ConfigurationError: the URL can't be used; the message says why and what to do.
    """
    url = url.strip()
    address = address_of(url)
    if address in ("", UNREADABLE_ADDRESS):
        raise ConfigurationError(
            f"REDIS_URL can't be read. Write {_FORMS}, and percent-encode special characters in user, password and "
            "options: / as %2F, @ as %40, : as %3A, ? as %3F, # as %23, % as %25, a space as %20."
        )
    scheme, _, place = address.partition("://")
    kind, tls = scheme.partition("+")[2] or "server", scheme.startswith("rediss")
    rest, _, query = url.partition("://")[2].partition("?")
    own, sentinel = _options_by_owner(query, kind)
    options = _typed(own, tls, kind)
    options |= _login(rest.partition("/")[0].rpartition("@")[0])
    sentinel_tls = sentinel.pop("ssl", str(tls)).lower() in ("true", "1", "yes")
    sentinel_options = _typed(sentinel, sentinel_tls, kind, _SENTINEL)
    inherits_login = kind == "sentinel" and not any(name in sentinel_options for name in _LOGIN)
    if inherits_login:
        sentinel_options |= {name: options[name] for name in _LOGIN if name in options}
    if sentinel_tls:
        inherited = {name: options[name] for name in _TLS_OPTIONS if name in options}
        sentinel_options = {"ssl": True, **inherited, **sentinel_options}
    if tls:
        options["ssl"] = True
    _check_tls(options, "")
    _check_tls(sentinel_options, _SENTINEL)
    hosts: tuple[tuple[str, int], ...] = ()
    service = ""
    if scheme == "unix":
        options["unix_socket_path"] = unquote(place.partition("?")[0])
    else:
        names, _, path = place.partition("/")
        hosts = tuple(_host_and_port(one) for one in names.split(","))
        service, _, database = path.rpartition("/")
        if kind != "cluster":
            options["db"] = int(database)
        else:
            options.pop("db", None)
    return RedisUrl(
        kind, address, hosts, service, options, sentinel_options,
        options.pop("max_connections", None), options.pop("timeout", None), inherits_login,
    )  # fmt: skip


def _options_by_owner(query: str, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the options of the server's connections, and those of the sentinels' without their prefix."""
    own: dict[str, str] = {}
    sentinel: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if kind == "sentinel" and name.startswith(_SENTINEL):
            sentinel[name.removeprefix(_SENTINEL)] = value
        else:
            own[name] = value
    return own, sentinel


def _typed(options: dict[str, str], tls: bool, kind: str, prefix: str = "") -> dict[str, Any]:
    """Return the options with redis-py's types."""
    typed: dict[str, Any] = {}
    for name, value in options.items():
        shown = f"REDIS_URL: the option {prefix}{name}"
        if name == "decode_responses":
            raise ConfigurationError(f"{shown} can't be used, because messages are read as bytes; remove it.")
        if name not in _OPTIONS:
            shown = shown if name.isidentifier() and name.islower() else "REDIS_URL: an option"
            raise ConfigurationError(f"{shown} is unknown; the known ones are {', '.join(_OPTIONS)}.")
        if name in _TLS_OPTIONS and not tls:
            raise ConfigurationError(f"{shown} needs TLS; begin the URL with rediss, or remove the option.")
        if kind == "cluster" and name not in (*_IN_CLUSTER, "timeout"):
            raise ConfigurationError(f"{shown} can't be used with a cluster; remove it.")
        typed[name] = _value(name, value, tls)
        if typed[name] is None:
            raise ConfigurationError(f"{shown} has a value that can't be used; see docs/sessions.md for its options.")
    return typed


def _value(name: str, value: str, tls: bool) -> Any:
    """Return the value as redis-py parses it; ``None`` if it refuses it."""
    try:
        pool = redis.ConnectionPool.from_url(f"redis{'s' * tls}://localhost?{urlencode({name: value})}")
        if name == "max_connections":
            return int(value) if int(value) > 0 else None
        if name != "timeout":
            pool.connection_class(**pool.connection_kwargs)
        return pool.connection_kwargs.get(name)
    except (ValueError, TypeError, redis.exceptions.RedisError):
        return None


def _login(credentials: str) -> dict[str, str]:
    user, _, password = credentials.partition(":")
    return {name: unquote(value) for name, value in (("username", user), ("password", password)) if value}


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not 0 < int(port) < 65536:
        raise ConfigurationError("REDIS_URL: the port must be 1 to 65535.")
    return host.strip("[]"), int(port)


def _check_tls(options: dict[str, Any], prefix: str) -> None:
    """Try to load the files for TLS here, because redis-py reports failures as a lost connection.

    Raises:
        ConfigurationError: one of them can't be read or used.
    """
    if not options.get("ssl"):
        return
    context = ssl.create_default_context()
    certificate, key, directory = (options.get(f"ssl_{name}") for name in ("certfile", "keyfile", "ca_path"))

    def load_certificate() -> None:
        context.load_cert_chain(certificate or "", key, options.get("ssl_password") or "")

    attempts: list[tuple[str, Callable[[], object]]] = [
        ("ssl_ca_certs", lambda: context.load_verify_locations(cafile=options["ssl_ca_certs"])),
        ("ssl_ca_path", lambda: list(Path(directory or "").iterdir())),
        ("ssl_ca_data", lambda: context.load_verify_locations(cadata=options["ssl_ca_data"])),
        ("ssl_certfile", load_certificate),
        ("ssl_keyfile", load_certificate),
        ("ssl_ciphers", lambda: context.set_ciphers(options["ssl_ciphers"])),
    ]
    for name, attempt in attempts:
        reason = _failure(attempt) if name in options else None
        if reason is not None:
            raise ConfigurationError(
                f"REDIS_URL: the file in the option {prefix}{name} can't be used for TLS ({reason}); check the file, "
                "its permissions and the related options."
            )


def _failure(attempt: Callable[[], object]) -> str | None:
    """Return why an attempt failed, without the text that was passed to it."""
    try:
        attempt()
    except OSError as error:  # also ssl.SSLError, whose text for a wrong file differs by version
        return "not valid" if isinstance(error, ssl.SSLError) else (error.strerror or "not readable").lower()
    except (ValueError, TypeError):
        return "not valid"
    return None
