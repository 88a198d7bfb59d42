"""Files of local models: weights from packages that are read as data, and the graphs that are built from them.

Checksums are verified, so that an index is never filled with the vectors of another model. A graph is built once per
machine and kept in the user's cache: a process that finds it there does not need the package ``onnx``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from rag_chain.errors import ConfigurationError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.

logger = logging.getLogger(__name__)

INSTALL_LOCAL = "pip install 'rag_chain[local]'"

_DIGEST = 64
"""Characters of the sha256 at the beginning of a cached graph."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of an installed package that is read and never imported.

    Args:
        package: its import name.
        name: path within the package.
        sha256: of the file.
        model: the model that needs it, such as ``local:minilm``.
        install: the command that installs the package.
    """

    package: str
    name: str
    sha256: str
    model: str
    install: str

    def path(self) -> Path:
        """Return the path of the file, after its checksum was verified.

        Raises:
            ConfigurationError: the package is missing, or holds another file.
        """
        folder = self._folder()
        if folder is None:
            raise ConfigurationError(f"{self.model} needs the package {self._distribution}: {self.install}.")
        path = folder / self.name
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigurationError(f"{self.model} can't read {path}; reinstall it: {self.install}.") from error
        if digest != self.sha256:
            raise ConfigurationError(
                f"{path} is not the file that {self.model} was made for; reinstall it: {self.install}."
            )
        return path

    def is_installed(self) -> bool:
        """Whether the package holds a file of this name; its checksum is not verified."""
        folder = self._folder()
        return folder is not None and (folder / self.name).is_file()

    def _folder(self) -> Path | None:
        spec = find_spec(self.package)
        return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None

    @property
    def _distribution(self) -> str:
        return self.package.replace("_", "-")


def disable_telemetry() -> None:
    """Keep onnxruntime from sending events of its use to its maker; call this before it is imported.

    Since 1.29 its wheels for Linux and macOS do so, and keep an id of the machine in the user's cache. A value of
    ``ORT_DISABLE_TELEMETRY`` that is set stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def open_graph(weights: DataFile, builder: str) -> InferenceSession:
    """Return an onnxruntime session of one thread for the graph that ``builder`` makes of ``weights``.

    The graph is read from the user's cache, or built and stored there. A damaged graph is built again. Processes that
    build at the same time write separate files, and the last one to finish replaces the others. If the cache can't be
    written, the graph is built at each start.

    Args:
        weights: checked when the graph is built; named by their checksum in the cache.
        builder: a module in this package with ``build(path) -> bytes``, imported only to build. If its code changes,
            the graph is built again.

    Raises:
        ConfigurationError: a package is missing, or holds another file.
    """
    disable_telemetry()
    try:
        import onnxruntime

        graph = _graph(weights, builder)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{weights.model} needs the package {error.name}: {INSTALL_LOCAL}.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _graph(weights: DataFile, builder: str) -> bytes:
    if not weights.is_installed():
        weights.path()  # raises with the install command
    source = Path(__file__).with_name(f"{builder}.py").read_bytes()
    key = hashlib.sha256(weights.sha256.encode() + source).hexdigest()[:16]
    kept = platformdirs.user_cache_path("rag_chain") / "models" / f"{weights.model.partition(':')[2]}-{key}.onnx"
    graph = _read_checked(kept)
    if graph is None:
        graph = import_module(f"{__package__}.{builder}").build(weights.path())
        _keep(kept, graph)
    return graph


def _read_checked(path: Path) -> bytes | None:
    """Return the graph in ``path``; None if there is none or it does not match its checksum."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, graph = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(graph).hexdigest().encode() == digest:
        return graph
    logger.warning("%s is damaged and is built again.", path)
    return None


def _keep(path: Path, graph: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.stem}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(graph).hexdigest().encode() + graph)
            Path(aside).replace(path)
        except OSError:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.info("The graph can't be kept in %s (%s): it is built at each start.", path.parent, error.strerror)
