"""The MiniLM encoder as an ONNX graph that computes in int8.

The published file stores its weights as int8 but multiplies in float32, and is slow to load. This module builds a graph
from the same weights that multiplies int8 by int8: 70 instead of 40 passages of 130 tokens per second on two AVX2
cores, built and loaded in 0.15 s instead of 0.45 s. Its vectors have a cosine of 0.999 on average with those of the
float model, and 0.996 at worst, over 900 questions and passages (0.993 over single words). The method:

- Activations are quantised per token (Dettmers et al. 2022, arXiv:2208.07339), so that a vector does not depend on the
  rest of its batch. The value projection stays in float: attention does not average out its rounding error.
- Before the feed-forward layer a few channels are far larger than the rest. Their scale moves into the weights
  (SmoothQuant, Xiao et al. 2023, arXiv:2211.10438), estimated from the layer norm's gain and bias.
- The output of GELU is at least -0.17: shifted by that, it uses all 8 bits.
- AVX2 adds the products of two neighbouring channels in 16 bits, which can saturate. Weights are kept small enough to
  avoid that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

LAYERS, HEADS, DIMENSION = 6, 12, 384
_ORT = "com.microsoft"
_GELU_FLOOR = 0.17
_PAIR = 128  # 255 * 128 fits 16 bits


def build(path: Path) -> bytes:
    """Return a serialised ONNX model made of the weights in ``path``.

    Inputs ``input_ids`` and ``attention_mask``, both int64 ``[batch, tokens]``; output ``last_hidden_state``, float32
    ``[batch, tokens, 384]``.
    """
    published = onnx.load(path).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in published.initializer}
    # The linear layers have no names, but a fixed order: query, key, value, output, and the two of the feed-forward
    # network, layer by layer.
    linear = [n.input[1] for n in published.node if n.op_type == "MatMul" and f"{n.input[1]}_q" in weights]
    return Encoder(weights, linear, LAYERS, epsilon=1e-12).build()


class Encoder:
    """Builds the graph of a BERT of 384 channels and 12 heads.

    Args:
        weights: name -> array; of a linear layer ``NAME_q`` (int8 ``[in, out]``) and ``NAME_scale`` (of each column).
        linear: names of the linear layers: query, key, value, output, and the two of the feed-forward network, layer
            by layer.
        layers: number of layers.
        epsilon: of the layer norms.
    """

    def __init__(self, weights: dict[str, Array], linear: Sequence[str], layers: int, *, epsilon: float) -> None:
        self._weights = weights
        self._linear = linear
        self._layers = layers
        self._epsilon = epsilon
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def build(self) -> bytes:
        """Return the serialised model."""
        for name, value in (
            ("one", 1),
            ("by_127", 1 / 127),
            ("by_255", 1 / 255),
            ("tiny", 1e-9),
            ("shift", _GELU_FLOOR),
        ):
            self._constant(name, np.float32(value))
        self._constant("zero", np.zeros(1, np.int64))
        for point in (0, 128):
            self._constant(f"point_{point}", np.uint8(point))
        self._node("Cast", "attention_mask", out="mask", to=TensorProto.INT32)
        hidden = self._embeddings()
        for layer in range(self._layers):
            hidden = self._layer(layer, hidden)
        self._node("Identity", hidden, out="last_hidden_state")
        shape = ["batch", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "minilm",
            [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask")],
            [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, DIMENSION])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(_ORT, 1)]
        model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return model

    def _embeddings(self) -> str:
        part = "inner.embeddings."
        words = self._constant("words", self._weights[f"{part}word_embeddings.weight_q"])
        scales = self._constant("word_scales", self._weights[f"{part}word_embeddings.weight_scale"])
        # There is one segment, so its vector is added to the position vectors.
        position = self._float(f"{part}position_embeddings.weight")
        places = self._constant("places", position + self._weights[f"{part}token_type_embeddings.weight"][0])
        word = self._node("Cast", self._node("Gather", words, "input_ids"), to=TensorProto.FLOAT)
        word = self._node("Mul", word, self._node("Gather", scales, "input_ids"))
        length = self._node("Shape", "input_ids", start=1, end=2)
        place = self._node("Slice", places, "zero", length, "zero")
        gain, bias = (self._constant(f"norm_{n}", self._weights[f"{part}LayerNorm.{n}"]) for n in ("weight", "bias"))
        return self._node(
            "LayerNormalization", self._node("Add", word, place), gain, bias, axis=-1, epsilon=self._epsilon
        )

    def _layer(self, layer: int, hidden: str) -> str:
        query, key, value, output, widen, narrow = self._linear[6 * layer : 6 * layer + 6]

        def own(name: str) -> Array:
            return self._weights[f"inner.encoder.layer.{layer}.{name}"]

        def add_and_norm(new: str, old: str, bias: Array, norm: str) -> str:
            gain_and_bias = (self._constant(f"{layer}.{norm}.{n}", own(f"{norm}.{n}")) for n in ("weight", "bias"))
            bias_name = self._constant(f"{layer}.{norm}.before", bias)
            return self._node(
                "SkipLayerNormalization", new, old, *gain_and_bias, bias_name, domain=_ORT, epsilon=self._epsilon
            )

        both = self._multiply(hidden, [query, key])
        queries, keys = f"{both}.q", f"{both}.k"
        self._nodes.append(helper.make_node("Split", [both], [queries, keys], axis=-1))
        values = self._node("MatMul", hidden, self._constant(value, self._float(value)))
        biases = np.concatenate([own(f"attention.self.{n}.bias") for n in ("query", "key", "value")])
        seen = self._node(
            "MultiHeadAttention",
            queries,
            keys,
            values,
            self._constant(f"{layer}.qkv", biases),
            "mask",
            domain=_ORT,
            num_heads=HEADS,
        )
        norm = "attention.output.LayerNorm"
        hidden = add_and_norm(self._multiply(seen, [output]), hidden, own("attention.output.dense.bias"), norm)

        size = 3 * np.abs(own(f"{norm}.weight")) + np.abs(own(f"{norm}.bias"))
        wide = self._multiply(hidden, [widen], size / size.mean())
        bias = self._constant(f"{layer}.wide", own("intermediate.dense.bias"))
        wide = self._node("BiasGelu", wide, bias, domain=_ORT)
        weights, steps = self._int8([narrow])
        bias_after = (own("output.dense.bias") - _GELU_FLOOR * weights.sum(0) * steps).astype(np.float32)
        return add_and_norm(self._multiply(wide, [narrow], shifted=True), hidden, bias_after, "output.LayerNorm")

    def _multiply(self, x: str, names: Sequence[str], size: Array | None = None, *, shifted: bool = False) -> str:
        """Multiply ``x`` by the concatenated weights of ``names``, in int8.

        ``size`` is the scale of each channel of ``x``. ``shifted`` means that ``x`` is at least ``-_GELU_FLOOR``; then
        the product is that of ``x + _GELU_FLOOR``.
        """
        matrix, steps = self._int8(names, size)
        weights = self._constant(f"{names[0]}.int8", matrix)
        scales = self._constant(f"{names[0]}.scale", steps)
        if size is not None:
            x = self._node("Mul", x, self._constant(f"{names[0]}.size", (1 / size).astype(np.float32)))
        x = self._node("Add", x, "shift") if shifted else x
        largest_of_token = self._node("ReduceMax", x if shifted else self._node("Abs", x), axes=[-1], keepdims=1)
        token_step = self._node("Mul", largest_of_token, "by_255" if shifted else "by_127")
        token_step = self._node("Max", token_step, "tiny")
        point = "point_0" if shifted else "point_128"
        tokens = self._node("QuantizeLinear", self._node("Div", x, token_step), "one", point)
        product = self._node("MatMulIntegerToFloat", tokens, weights, "one", scales, point, domain=_ORT)
        return self._node("Mul", product, token_step)

    def _int8(self, names: Sequence[str], size: Array | None = None) -> tuple[Array, Array]:
        """Return the concatenated weights of ``names`` as int8, and the step of each column."""
        matrix = np.concatenate([self._weights[f"{n}_q"] for n in names], axis=1).astype(np.float32)
        scale = np.concatenate([self._weights[f"{n}_scale"].ravel() for n in names])
        if size is not None:
            matrix *= size[:, None]
        pairs = np.abs(matrix[0::2] + matrix[1::2]).max(0) / _PAIR
        step = np.maximum(np.abs(matrix).max(0) / 127, pairs)
        return np.round(matrix / step).astype(np.int8), (scale * step).astype(np.float32)

    def _float(self, name: str) -> Array:
        product: Array = self._weights[f"{name}_q"].astype(np.float32) * self._weights[f"{name}_scale"]
        return product.astype(np.float32)

    def _constant(self, name: str, value: Any) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def _node(self, operator: str, *inputs: str, out: str = "", domain: str = "", **attributes: Any) -> str:
        out = out or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [out], domain=domain, **attributes))
        return out
