"""redis-py clients for a URL: one server, Sentinel or a cluster, sync and async.

Creating one opens no connection, except that a sync client of a cluster asks a node for the others. Connecting,
reconnecting, pools and the parsing of replies are redis-py's. RESP2 is used, because its reply types are the same in
every version of redis-py.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, NoPermissionError, RedisError, TimeoutError
from redis.retry import Retry

from rag_chain.sessions.redis.urls import RedisUrl

_SILENCE = "The sentinels do not answer in time."


class SentinelMistakeError(RedisError):
    """The sentinels answer, but will not name a master, however long one waits."""


def connect(url: RedisUrl, timeout: float, connections: int, *, asynchronous: bool = False) -> Any:
    """Return a redis-py client.

    A lost connection is retried once at once: a pooled connection may have been closed by the server. So every command
    must be safe to run twice.

    Args:
        timeout: seconds for connecting and for a call, unless the URL's options override it.
        connections: maximum number of open connections, to each node.
    """
    retry_of = AsyncRetry if asynchronous else Retry
    common: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
        "retry": retry_of(NoBackoff(), 1, supported_errors=(ConnectionError,)),
    }
    options = {**common, "max_connections": connections, **url.options}
    if url.kind == "sentinel":
        # They are called one after another: together they may take as long as one call.
        own = {**common, **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), timeout / len(url.hosts))}
        return _sentinel(url, options, own | url.sentinel_options, timeout, asynchronous=asynchronous)
    if url.kind == "server":
        if url.hosts:
            options["host"], options["port"] = url.hosts[0]
        return redis.asyncio.Redis(**options) if asynchronous else redis.Redis(**options)
    cluster_of, node_of = (
        (redis.asyncio.RedisCluster, redis.asyncio.cluster.ClusterNode)
        if asynchronous
        else (redis.RedisCluster, redis.cluster.ClusterNode)
    )
    nodes: list[Any] = [node_of(host, port) for host, port in url.hosts]
    if asynchronous:
        # Otherwise it closes all connections, even those in use, at every fifth slot that has moved to another node.
        options["reinitialize_steps"] = 0
    return cluster_of(startup_nodes=nodes, **options)


def find_other_speech(url: RedisUrl, timeout: float) -> bool | None:
    """Try the opposite protocol: TLS if the URL has none, no TLS if it has.

    A server answers the wrong protocol with silence or by closing the connection, as one that is away does. No
    credentials are sent.

    Returns:
        Whether the server expects TLS; ``None`` if it does not answer the other protocol either.
    """
    if not url.hosts:
        return None
    (host, port), options = url.hosts[0], url.sentinel_options if url.kind == "sentinel" else url.options
    try:
        if options.get("ssl"):
            with redis.Redis(host=host, port=port, socket_timeout=timeout, socket_connect_timeout=timeout) as client:
                client.ping()
            return False
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((host, port), timeout) as plain, context.wrap_socket(plain):
            return True
    except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError):
        return False
    except (redis.exceptions.RedisError, OSError):
        return None


def sentinels_of(client: Any) -> list[Any]:
    """Return the sentinel clients of a client, which it does not close itself."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return list(manager.every) if isinstance(manager, Sentinel | AsyncSentinel) else []


class Sentinel(redis.Sentinel):
    """redis-py's class, which also distinguishes a mistake in the configuration from an outage.

    ``patience``: timeout in seconds for all sentinels together. Silence raises ``TimeoutError``, which redis-py does
    not retry at once, unlike a master that is not found.
    """

    patience = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # not typed there
        self.every = tuple(self.sentinels)

    def discover_master(self, service_name: str) -> Any:
        """Return the address of the master; redis-py calls this whenever it connects."""
        _complete(self)
        until = time.monotonic() + self.patience / 2
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]  # not typed there
        except redis.sentinel.MasterNotFoundError as error:
            if time.monotonic() > until:
                raise TimeoutError(_SILENCE) from error
            replies: list[Any] = []
            for sentinel in self.sentinels:
                try:
                    replies.append(sentinel.sentinel_masters())
                except RedisError as error:
                    replies.append(error)
            _check(replies, service_name)
            raise


class AsyncSentinel(redis.asyncio.Sentinel):
    """See ``Sentinel``."""

    patience = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # not typed there
        self.every = tuple(self.sentinels)

    async def discover_master(self, service_name: str) -> Any:
        """See ``Sentinel.discover_master``."""
        _complete(self)
        until = time.monotonic() + self.patience / 2
        try:
            return await super().discover_master(service_name)
        except redis.asyncio.sentinel.MasterNotFoundError as error:
            if time.monotonic() > until:
                raise TimeoutError(_SILENCE) from error
            replies: list[Any] = []
            for sentinel in self.sentinels:
                try:
                    replies.append(await sentinel.sentinel_masters())
                except RedisError as error:
                    replies.append(error)
            _check(replies, service_name)
            raise


def _complete(manager: Any) -> None:
    """Restore sentinels that redis-py lost: two concurrent searches that move theirs to the front lose a third."""
    if len({id(one) for one in manager.sentinels}) < len(manager.every):
        manager.sentinels = list(manager.every)


def _check(replies: list[Any], service_name: str) -> None:
    """Raise SentinelMistakeError if by the replies of the sentinels there will be no master.

    Args:
        replies: for each sentinel the masters that it watches, or the error.
    """
    known = [reply for reply in replies if isinstance(reply, dict)]
    if known and not any(service_name in masters for masters in known):
        raise SentinelMistakeError(f"they watch no master named {service_name!r}; check the service in REDIS_URL")
    refused = [reply for reply in replies if isinstance(reply, AuthenticationError | NoPermissionError)]
    if refused and not known:
        raise SentinelMistakeError(
            "they refused the login; set their sentinel_username and sentinel_password as options of REDIS_URL"
        )


def _sentinel(
    url: RedisUrl, options: dict[str, Any], own: dict[str, Any], patience: float, *, asynchronous: bool
) -> Any:
    """Return a client of the master; redis-py asks the sentinels for its address whenever it connects."""
    sentinel_of = AsyncSentinel if asynchronous else Sentinel
    if url.inherits_login and ("password" in own or "username" in own):
        own["redis_connect_func"] = _aconnect_with_or_without_login if asynchronous else _connect_with_or_without_login
    sentinels = sentinel_of(url.hosts, sentinel_kwargs=own, **options)
    sentinels.patience = patience
    return sentinels.master_for(url.service)


def _connect_with_or_without_login(connection: Any) -> None:
    """Log in at a sentinel with the server's credentials, or not at all if it refuses them.

    Most sentinels have no password, even if the server has one; a sentinel with another password refuses the first
    command.
    """
    try:
        connection.on_connect()
    except AuthenticationError:
        connection.username = connection.password = connection.redis_connect_func = None
        connection.on_connect()


async def _aconnect_with_or_without_login(connection: Any) -> None:
    try:
        await connection.on_connect()
    except AuthenticationError:
        connection.username = connection.password = connection.redis_connect_func = None
        await connection.on_connect()
