"""Connect to a Ray cluster, or start a local Ray runtime."""

from __future__ import annotations

import logging
import os
import socket
import threading
from importlib.util import find_spec

from rag_chain.errors import ClusterUnavailableError, ConfigurationError, RagChainError
from rag_chain.workers import cores

_ADDRESS = "RAY_ADDRESS"
_CONNECT_SECONDS = 5.0
_LOCAL = ("", "local")
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray prints messages about dead workers to standard output, which corrupts the JSON report.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Defaults; a value in the environment wins."""

_lock = threading.Lock()
_uses = 0
_is_own = False


def prepare() -> None:
    """Set the variables that Ray reads at its import. Call it before that.

    Raises:
        ConfigurationError: Ray is missing.
    """
    if find_spec("ray") is None:
        raise ConfigurationError("The engine ray needs the package ray: pip install 'rag_chain[ray]'.")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def connect() -> None:
    """Connect this process to the cluster at ``RAY_ADDRESS``, or start a local runtime if it is not set.

    An existing connection (``ray.init``) is used and stays. Each call needs a call of ``disconnect``.

    Raises:
        ConfigurationError: ``RAY_ADDRESS`` is malformed.
        ClusterUnavailableError: nothing answers at ``RAY_ADDRESS``, or the runtime can't be started.
    """
    global _uses, _is_own
    import ray

    with _lock:
        if not ray.is_initialized():
            _start()
            _is_own = True
        _uses += 1


def disconnect() -> None:
    """Undo one ``connect``; the last call closes the connection that the first one opened."""
    global _uses, _is_own
    import ray

    with _lock:
        _uses -= 1
        if _uses == 0 and _is_own:
            _is_own = False
            ray.shutdown()


def place() -> str:
    """Return the name of the cluster for messages."""
    address = os.environ.get(_ADDRESS, "")
    return "this machine's Ray runtime" if address in _LOCAL else f"the Ray cluster at {address}"


def _start() -> None:
    import ray

    address = os.environ.get(_ADDRESS, "")
    try:
        if address in _LOCAL:
            ray.init(
                address="local",
                num_cpus=cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        _check_answers(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except RagChainError:
        raise
    except ConnectionError as error:
        if address == "auto":
            raise _unreachable(address) from error
        raise ClusterUnavailableError(
            f"{_ADDRESS}={address} accepts no connection: it must be the head node of a Ray cluster, and "
            "if that uses tokens, ~/.ray/auth_token must be the same here."
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ClusterUnavailableError(f"Ray can't be started for {place()}: {reason}.") from error


def _check_answers(address: str) -> None:
    """Raise an error if nothing listens at the address: Ray would retry for two minutes, then end the process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise ConfigurationError(
            f"{_ADDRESS}={address} is not the address of a cluster: write HOST:PORT of its head node, auto, or "
            "nothing for a runtime on this machine."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address) from error


def _unreachable(address: str) -> ClusterUnavailableError:
    return ClusterUnavailableError(
        f"No Ray cluster answers at {_ADDRESS}={address}: start one there with `ray start --head`, or unset {_ADDRESS} "
        "to use this machine alone."
    )
