"""Local models' files: checked packages read as data, and graphs that are built once a machine."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from rag_chain.errors import ConfigurationError
from rag_chain.models.local import minilm, weights
from rag_chain.models.local.weights import DataFile, open_graph


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_: tmp_path / "cache")
    return tmp_path / "cache" / "models"


def graph_of(cache: Path) -> Path:
    [path] = cache.iterdir()
    return path


def vector() -> np.ndarray:
    ids = np.array([[101, 7592, 102]])
    session = open_graph(minilm._MODEL, "minilm_graph")
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]


def test_a_graph_is_built_once_and_then_needs_no_onnx(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vector()
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "rag_chain.models.local.minilm_graph", raising=False)
    assert (vector() == first).all()


def test_onnxruntime_keeps_no_id_of_the_machine(tmp_path: Path) -> None:
    """With telemetry it would keep one in the user's cache, beside events that wait to be sent."""
    program = "from rag_chain.models.local.minilm import MiniLMEmbeddings as M; M().embed_query('x')"
    # No variables of CI or of tests: with them onnxruntime sends nothing anyway.
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, timeout=300)
    assert [path.name for path in (tmp_path / ".cache").iterdir()] == ["rag_chain"]


def test_without_the_cache_a_graph_needs_onnx(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "rag_chain.models.local.minilm_graph", raising=False)
    with pytest.raises(ConfigurationError, match=r"onnx: pip install 'rag_chain\[local\]'"):
        vector()


@pytest.mark.parametrize("damage", ["cut", "altered", "emptied"])
def test_a_damaged_graph_is_built_anew(cache: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    expected = vector()
    path = graph_of(cache)
    content = path.read_bytes()
    halves = {"cut": content[: len(content) // 2], "altered": content[:-9] + b"x" * 9, "emptied": b""}
    path.write_bytes(halves[damage])
    assert (vector() == expected).all()
    assert "is damaged" in caplog.text
    assert path.read_bytes() == content
    assert list(cache.iterdir()) == [path]


def test_another_builder_makes_another_graph(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vector()
    (tmp_path / "minilm_graph.py").write_text("# Another one, which is never imported.")
    monkeypatch.setattr(weights, "__file__", str(tmp_path / "weights.py"))
    vector()
    assert len(list(cache.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    assert np.isfinite(vector()).all()


def _build(folder: str) -> bool:
    platformdirs.user_cache_path = lambda *_: Path(folder)
    return bool(np.isfinite(vector()).all())


def test_two_processes_build_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_build, [str(tmp_path)] * 2) == [True, True]
    [graph] = (tmp_path / "models").iterdir()
    content = graph.read_bytes()
    assert hashlib.sha256(content[64:]).hexdigest().encode() == content[:64]


def test_a_missing_package_says_how_to_install_it() -> None:
    absent = DataFile("no_such_package", "model.onnx", "0" * 64, "local:absent", "pip install no-such-package")
    assert not absent.is_installed()
    with pytest.raises(ConfigurationError, match="no-such-package: pip install no-such-package"):
        absent.path()
    with pytest.raises(ConfigurationError, match="no-such-package: pip install no-such-package"):
        open_graph(absent, "minilm_graph")


def test_an_altered_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "altered_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "model.onnx").write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    altered = DataFile("altered_model", "model.onnx", "0" * 64, "local:altered", "pip install x")
    with pytest.raises(ConfigurationError, match=r"model\.onnx is not the file"):
        altered.path()
    gone = DataFile("altered_model", "gone.onnx", "0" * 64, "local:altered", "pip install x")
    with pytest.raises(ConfigurationError, match=r"can't read .*gone\.onnx"):
        gone.path()
