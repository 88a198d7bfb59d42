"""The SPLADE encoder as an ONNX graph whose vocabulary layer computes in int8.

The model is a BERT masked language model of two layers of 128 channels. Nine tenths of its work is the last step, a
product of every token with all 30,522 words of the vocabulary. The graph does that step in int8:

- The input is layer-normalised, so its range is known: one quantisation step serves all tokens. The layer norm's gain
  moves into the weights and its bias into the bias of each word.
- Only the greatest product of each word over the tokens counts. The maximum is taken over integers, so that no float is
  computed for each pair of token and word.
- AVX2 adds the products of two neighbouring channels in 16 bits, which can saturate. Weights are kept small enough to
  avoid that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

LAYERS, HEADS, DIMENSION = 2, 2, 128
_ORT = "com.microsoft"
_EPSILON = 1e-12
_REACH = 6.0
"""Standard deviations of a layer-normalised channel that 8 bits cover; values beyond are clipped."""

_BLOCK = 1024
"""Words of the vocabulary per step, so that their products with a passage's tokens fit the core's cache."""

_PAIR = 128  # 255 * 128 fits 16 bits


def build(path: Path) -> bytes:
    """Return a serialised ONNX model made of the weights in ``path`` (safetensors, float32).

    Input ``input_ids``, int64 ``[1, tokens]``: one text, so no padding is needed. Output ``weights``, float32
    ``[words]``: the maximum over the tokens of ``log(1 + relu(logit))`` for each word of the vocabulary.
    """
    return _Encoder(read_safetensors(path)).build()


def read_safetensors(path: Path) -> dict[str, Array]:
    """Return name -> array of a safetensors file that holds only float32."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(raw, "<f4", math.prod(entry["shape"]), start + entry["data_offsets"][0]).reshape(
            entry["shape"]
        )
        for name, entry in header.items()
    }


class _Encoder:
    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def build(self) -> bytes:
        hidden = self._embeddings()
        for layer in range(LAYERS):
            hidden = self._layer(f"bert.encoder.layer.{layer}", hidden)
        self._vocabulary(hidden)
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
        words = len(self._weights["cls.predictions.bias"])
        graph = helper.make_graph(
            self._nodes,
            "splade",
            [ids],
            [helper.make_tensor_value_info("weights", TensorProto.FLOAT, [words])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_ORT, 1)]
        serialised: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        return serialised

    def _embeddings(self) -> str:
        own = {name: self._weights[f"bert.embeddings.{name}.weight"] for name in _EMBEDDINGS}
        words = self._node("Gather", self._constant("words", own["word_embeddings"]), "input_ids")
        # A single text has token type 0.
        places = self._constant("places", own["position_embeddings"] + own["token_type_embeddings"][0])
        length = self._node("Shape", "input_ids", start=1, end=2)
        zero = self._constant("zero", np.zeros(1, np.int64))
        place = self._node("Slice", places, zero, length, zero)
        return self._normalise(self._node("Add", words, place), "bert.embeddings.LayerNorm")

    def _layer(self, part: str, hidden: str) -> str:
        query, key, value = (self._linear(hidden, f"{part}.attention.self.{n}") for n in ("query", "key", "value"))
        seen = self._node("MultiHeadAttention", query, key, value, domain=_ORT, num_heads=HEADS)
        output = self._linear(seen, f"{part}.attention.output.dense")
        hidden = self._normalise(self._node("Add", output, hidden), f"{part}.attention.output.LayerNorm")
        wide = self._node("Gelu", self._linear(hidden, f"{part}.intermediate.dense"), domain=_ORT)
        narrow = self._linear(wide, f"{part}.output.dense")
        return self._normalise(self._node("Add", narrow, hidden), f"{part}.output.LayerNorm")

    def _vocabulary(self, hidden: str) -> None:
        """Add the greatest logit of each word over the tokens, and its weight."""
        part = "cls.predictions.transform"
        gain, shift = (self._weights[f"{part}.LayerNorm.{n}"] for n in ("gamma", "beta"))
        words = self._weights["bert.embeddings.word_embeddings.weight"]
        bias = self._weights["cls.predictions.bias"] + words @ shift
        matrix = (words * gain).T
        pairs = np.abs(matrix[0::2] + matrix[1::2]).max(0) / _PAIR
        step = np.maximum(np.abs(matrix).max(0) / 127, pairs)
        in_step = np.float32(_REACH / 127)
        point = self._constant("point", np.uint8(128))

        changed = self._node("Gelu", self._linear(hidden, f"{part}.dense"), domain=_ORT)
        ones, zeros = (self._constant(n, v) for n, v in (("ones", np.ones(DIMENSION)), ("zeros", np.zeros(DIMENSION))))
        normal = self._node("LayerNormalization", changed, ones, zeros, axis=-1, epsilon=_EPSILON)
        tokens = self._node("QuantizeLinear", normal, self._constant("in_step", in_step), point)
        weights = np.round(matrix / step).astype(np.int8)
        parts = []
        for start in range(0, weights.shape[1], _BLOCK):
            block = self._constant(f"vocabulary.{start}", weights[:, start : start + _BLOCK])
            products = self._node("MatMulInteger", tokens, block, point)
            parts.append(self._node("ReduceMax", products, axes=[0, 1], keepdims=0))
        greatest = self._node("Concat", *parts, axis=0)
        scaled = self._node(
            "Mul", self._node("Cast", greatest, to=TensorProto.FLOAT), self._constant("out_step", in_step * step)
        )
        logits = self._node("Add", scaled, self._constant("bias", bias))
        self._node("Log", self._node("Add", self._node("Relu", logits), self._constant("one", 1.0)), out="weights")

    def _linear(self, x: str, name: str) -> str:
        weight = self._constant(f"{name}.weight", self._weights[f"{name}.weight"].T)
        return self._node(
            "Add", self._node("MatMul", x, weight), self._constant(f"{name}.bias", self._weights[f"{name}.bias"])
        )

    def _normalise(self, x: str, name: str) -> str:
        gain, bias = (self._constant(f"{name}.{n}", self._weights[f"{name}.{n}"]) for n in ("gamma", "beta"))
        return self._node("LayerNormalization", x, gain, bias, axis=-1, epsilon=_EPSILON)

    def _constant(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        return name

    def _node(self, operator: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        out = out or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [out], domain=domain, **attributes))
        return out


_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
