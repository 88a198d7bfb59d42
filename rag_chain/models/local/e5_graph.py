"""The weights of multilingual-e5-small as an ONNX graph that computes in int8, and its tokenizer.

They are published in a packed file (magic ``E5S1``): the tokenizer's pieces with their scores, a map of characters, and
tensors in blocks of 32 weights of 4 bits with a scale of 16 bits each. The graph is that of ``local:minilm`` with
twelve layers: both models have the same dimensions.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LAYERS, DIMENSION, WIDE = 12, 384, 1536
_BLOCK = np.dtype([("scale", "<f2"), ("pairs", "u1", 16)])


def build(path: Path) -> bytes:
    """Return a serialised ONNX model made of the packed file ``path``; inputs and output as those of local:minilm."""
    from rag_chain.models.local.minilm_graph import Encoder

    packed = Packed.read(path)
    weights: dict[str, Array] = {}
    embeddings = "inner.embeddings."
    words = packed.weights("emb.word", packed.words, DIMENSION)
    scale = np.maximum(np.abs(words).max(1, keepdims=True) / 127, 1e-9).astype(np.float32)
    weights[f"{embeddings}word_embeddings.weight_q"] = np.rint(words / scale).astype(np.int8)
    weights[f"{embeddings}word_embeddings.weight_scale"] = scale
    del words
    places = packed.floats("emb.pos").reshape(-1, DIMENSION)
    weights[f"{embeddings}position_embeddings.weight_q"] = places
    weights[f"{embeddings}position_embeddings.weight_scale"] = np.ones(1, np.float32)
    weights[f"{embeddings}token_type_embeddings.weight"] = packed.floats("emb.type").reshape(-1, DIMENSION)
    _norm(weights, f"{embeddings}LayerNorm", packed, "emb.ln")
    linear: list[str] = []
    for layer in range(LAYERS):
        theirs, ours = f"l{layer}.", f"inner.encoder.layer.{layer}."
        for short, name, rows, columns in _LINEAR:
            linear.append(f"{ours}{name}")
            _int8(weights, f"{ours}{name}", packed.weights(f"{theirs}{short}.w", rows, columns))
            weights[f"{ours}{name}.bias"] = packed.floats(f"{theirs}{short}.b")
        _norm(weights, f"{ours}attention.output.LayerNorm", packed, f"{theirs}aln")
        _norm(weights, f"{ours}output.LayerNorm", packed, f"{theirs}oln")
    return Encoder(weights, linear, LAYERS, epsilon=packed.epsilon).build()


_LINEAR = (
    ("q", "attention.self.query", DIMENSION, DIMENSION),
    ("k", "attention.self.key", DIMENSION, DIMENSION),
    ("v", "attention.self.value", DIMENSION, DIMENSION),
    ("ao", "attention.output.dense", DIMENSION, DIMENSION),
    ("fi", "intermediate.dense", WIDE, DIMENSION),
    ("fo", "output.dense", DIMENSION, WIDE),
)
"""Their name, ours, and rows (out) and columns (in) of each linear layer."""


def _int8(weights: dict[str, Array], name: str, matrix: Array) -> None:
    """Store a matrix ``[out, in]`` as int8 ``[in, out]``, with one scale per output."""
    scale = np.maximum(np.abs(matrix).max(1) / 127, 1e-9).astype(np.float32)
    weights[f"{name}_q"] = np.ascontiguousarray(np.rint(matrix / scale[:, None]).astype(np.int8).T)
    weights[f"{name}_scale"] = scale


def _norm(weights: dict[str, Array], name: str, packed: Packed, theirs: str) -> None:
    weights[f"{name}.weight"], weights[f"{name}.bias"] = packed.floats(f"{theirs}.w"), packed.floats(f"{theirs}.b")


@dataclass(frozen=True, slots=True)
class Packed:
    """The content of a packed file.

    Args:
        words: rows of the word table.
        epsilon: of the layer norms.
        begin, end, unknown: numbers of the tokenizer's special pieces.
        pieces: of the tokenizer, each with its score.
        characters: code point -> its replacement for the tokenizer.
        tensors: name -> number of values, and offset in ``raw``.
        raw: the file.
    """

    words: int
    epsilon: float
    begin: int
    end: int
    unknown: int
    pieces: list[tuple[str, float]]
    characters: dict[int, str]
    tensors: dict[str, tuple[int, int]]
    raw: bytes

    @classmethod
    def read(cls, path: Path) -> Packed:
        """Read a packed file, whose checksum was verified before."""
        raw = path.read_bytes()
        words = struct.unpack_from("<7i", raw, 8)[4]
        (epsilon,) = struct.unpack_from("<f", raw, 36)
        count, begin, end, _, unknown = struct.unpack_from("<5i", raw, 44)
        (length,) = struct.unpack_from("<Q", raw, 64)
        place = 72
        starts = np.frombuffer(raw, "<u4", count + 1, place).tolist()
        place += 4 * (count + 1)
        scores = np.frombuffer(raw, "<f4", count, place).tolist()
        place += 4 * count
        texts = raw[place : place + length]
        place += length
        pieces = [
            (texts[starts[i] : starts[i + 1]].decode("utf-8", "replace"), score) for i, score in enumerate(scores)
        ]
        entries, size = struct.unpack_from("<iI", raw, place)
        characters = _characters(raw, place + 8, entries)
        return cls(words, epsilon, begin, end, unknown, pieces, characters, _tensors(raw, place + 8 + size), raw)

    def floats(self, name: str) -> Array:
        """Return a tensor of float32, flat."""
        count, place = self.tensors[name]
        return np.frombuffer(self.raw, "<f4", count, place)

    def weights(self, name: str, rows: int, columns: int) -> Array:
        """Return a tensor of 4 bits as float32 ``[rows, columns]``."""
        _, place = self.tensors[name]
        blocks = np.frombuffer(self.raw, _BLOCK, rows * columns // 32, place)
        # The low halves are the first 16 weights of a block, the high ones the others.
        values = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], 1).astype(np.float32) - 8
        scaled: Array = values * blocks["scale"].astype(np.float32)[:, None]
        return scaled.reshape(rows, columns)


def _characters(raw: bytes, place: int, entries: int) -> dict[int, str]:
    characters: dict[int, str] = {}
    for _ in range(entries):
        point, length = struct.unpack_from("<IB", raw, place)
        place += 5
        characters[point] = "".join(map(chr, struct.unpack_from(f"<{length}I", raw, place)))
        place += 4 * length
    return characters


def _tensors(raw: bytes, place: int) -> dict[str, tuple[int, int]]:
    (entries,) = struct.unpack_from("<i", raw, place)
    place += 4
    tensors: dict[str, tuple[int, int]] = {}
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", raw, place)
        place += 2
        name = raw[place : place + length].decode()
        place += length
        _, count, start, _ = struct.unpack_from("<BIQQ", raw, place)
        place += 21
        tensors[name] = (count, start)
    return tensors
