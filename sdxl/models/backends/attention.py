"""Attention as diffusers' AttnProcessor2_0 has it; the product itself is torch's, or one operator of an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# Queries whose attention is computed at once, for a call can end early only between two such: half a second on one core
# for 16,384 keys of 64 channels and two rows. With a multiple of 256, torch computes the same bits as for all of them.
QUERIES = 4_096

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""From queries, keys and values [n, tokens, channels] and the number of heads to the queries' [n, tokens, channels]."""


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """torch's own."""
    split = [projected.unflatten(-1, (heads, -1)).transpose(1, 2) for projected in (query, key, value)]
    return scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class AttentionBy:
    """A processor for the attentions that SDXL's models have, which know neither masks nor a time embedding."""

    def __init__(self, attend: Attend) -> None:
        self._attend = attend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """From [n, tokens, channels], in a VAE [n, channels, h, w], to the same shape."""
        assert attention_mask is None
        assert temb is None
        hidden = hidden_states if hidden_states.ndim == 3 else hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden = attn.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
        context = hidden if encoder_hidden_states is None else encoder_hidden_states
        attended = self._attend(attn.to_q(hidden), attn.to_k(context), attn.to_v(context), attn.heads)
        output: Tensor = attn.to_out[0](attended)
        if hidden_states.ndim == 4:
            output = output.transpose(1, 2).reshape(hidden_states.shape)
        return (output + hidden_states if attn.residual_connection else output) / attn.rescale_output_factor


class _OneOperator(torch.autograd.Function):
    """In an exported file: ONNX Runtime's own operator, which OpenVINO knows too.

    ONNX's own `Attention` is of a later opset, and computed by ONNX Runtime as a whole matrix.
    """

    @staticmethod
    def forward(_: Any, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        return attend(query, key, value, heads)

    @staticmethod
    def symbolic(graph: Any, query: Any, key: Any, value: Any, heads: int) -> Any:
        operator = graph.op("com.microsoft::MultiHeadAttention", query, key, value, num_heads_i=heads)
        return operator.setType(query.type())


_one_operator: Attend = _OneOperator.apply


def exported_attention() -> AttentionBy:
    """A processor for export.

    torch's exporter writes `scaled_dot_product_attention` as a product, a softmax and a product. Between them stands
    a matrix of 4 bytes times rows, heads and the square of the pixels: 4 GB in the miniature model at 1024 x 1024.
    """
    return AttentionBy(_one_operator)
