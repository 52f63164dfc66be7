"""Attention over very many queries in parts, in an ONNX file: a call can end early only between operators."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_graph, make_node, make_tensor, make_tensor_value_info

from sdxl.models.backends.attention import QUERIES

PARTS = 8
OPERATOR = "MultiHeadAttention"


def part_attention(path: Path) -> None:
    """Changes the file; weights in files of their own stay as they are."""
    model = onnx.load(path, load_external_data=False)
    nodes = [new for node in model.graph.node for new in (_parted(node) if node.op_type == OPERATOR else [node])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _parted(whole: NodeProto) -> list[NodeProto]:
    """A branch by the number of queries, which is the length of the first input's axis 1."""
    name, query = whole.output[0], whole.input[0]
    limit = make_node("Constant", [], [f"{name}/limit"], value=make_tensor("limit", TensorProto.INT64, [1], [QUERIES]))
    count = make_node("Shape", [query], [f"{name}/count"], start=1, end=2)
    is_many = make_node("Greater", [f"{name}/count", f"{name}/limit"], [f"{name}/is_many"])
    parts = [f"{name}/part_{number}" for number in range(PARTS)]
    results = [f"{part}/result" for part in parts]
    in_parts = [
        make_node("Split", [query], parts, axis=1, num_outputs=PARTS),
        *(_copy(whole, part, result) for part, result in zip(parts, results, strict=True)),
        make_node("Concat", results, [f"{name}/joined"], axis=1),
    ]
    at_once = [_copy(whole, query, f"{name}/whole")]
    branch = make_node(
        "If",
        [f"{name}/is_many"],
        [name],
        then_branch=make_graph(in_parts, f"{name}/in_parts", [], [_any_tensor(f"{name}/joined")]),
        else_branch=make_graph(at_once, f"{name}/at_once", [], [_any_tensor(f"{name}/whole")]),
    )
    return [limit, count, is_many, branch]


def _copy(whole: NodeProto, query: str, result: str) -> NodeProto:
    node = NodeProto()
    node.CopyFrom(whole)
    node.input[0], node.output[0], node.name = query, result, result
    return node


def _any_tensor(name: str) -> onnx.ValueInfoProto:
    return make_tensor_value_info(name, TensorProto.FLOAT, None)
