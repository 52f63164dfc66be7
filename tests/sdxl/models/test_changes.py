"""Each kind of change does to a layer what the same change written into its weight does, in numpy's words."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sdxl.config.references import UnusableFile
from sdxl.models.changed_layer import ChangedLayer, Rows
from sdxl.models.changes import Decomposed
from sdxl.models.lora_file import Roles, changes_of

Array = NDArray[np.float32]
Written = tuple[Roles, dict[str, Array]]  # a file's tensors, and what they add to each parameter of the layer
RANK = 3
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(6, 8), (2, 5, 6)),
    "without bias": (nn.Linear(6, 8, bias=False), (2, 5, 6)),
    "square": (nn.Linear(6, 6), (2, 5, 6)),
    "convolution": (nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 7, 7)),
    "pixel": (nn.Conv2d(6, 8, 1), (2, 6, 4, 4)),
}
NORMS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "layer norm": (nn.LayerNorm(6), (2, 5, 6)),
    "group norm": (nn.GroupNorm(2, 6), (2, 6, 4, 4)),
}


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape) + 10 * len(shape)))


def low_rank(weight: Array, alpha: float | None) -> Written:
    out, *rest = weight.shape
    down, up = drawn(RANK, *rest), drawn(out, RANK, *[1] * (len(rest) - 1))
    delta = (up.numpy().reshape(out, RANK) @ down.numpy().reshape(RANK, -1)).reshape(weight.shape)
    return {"down": down, "up": up, **with_alpha(alpha)}, {"weight": delta * (1 if alpha is None else alpha / RANK)}


def tucker(weight: Array, alpha: float | None) -> Written:
    out, into, *size = weight.shape
    down, mid, up = drawn(RANK, into, 1, 1), drawn(RANK, RANK, *size), drawn(out, RANK, 1, 1)
    delta = sum(
        up.numpy()[:, r].reshape(-1, 1, 1, 1) * mid.numpy()[r, s] * down.numpy()[s].reshape(1, -1, 1, 1)
        for r in range(RANK)
        for s in range(RANK)
    )
    return {"down": down, "mid": mid, "up": up, **with_alpha(alpha)}, {"weight": delta * scale_of(alpha)}


def loha(weight: Array, alpha: float | None) -> Written:
    rows, columns = weight.shape[0], weight[0].size
    factors = {
        f"hada_w{w}_{x}": drawn(*shape) for w in "12" for x, shape in (("a", (rows, RANK)), ("b", (RANK, columns)))
    }
    factors = {name: tensor + index for index, (name, tensor) in enumerate(factors.items())}
    a, b, c, d = (tensor.numpy() for tensor in factors.values())
    return {**factors, **with_alpha(alpha)}, {"weight": ((a @ b) * (c @ d)).reshape(weight.shape) * scale_of(alpha)}


def lokr(weight: Array, alpha: float | None) -> Written:
    """The left factor whole, the right one of low rank."""
    out, into, *size = weight.shape
    left, a, b = drawn(2, 3), drawn(out // 2, RANK), drawn(RANK, into // 3 * int(np.prod(size)))
    right = (a.numpy() @ b.numpy()).reshape(out // 2, into // 3, *size)
    delta = np.zeros_like(weight)
    for i, j in np.ndindex(2, 3):
        delta[i * out // 2 : (i + 1) * out // 2, j * into // 3 : (j + 1) * into // 3] = left.numpy()[i, j] * right
    return {"lokr_w1": left, "lokr_w2_a": a, "lokr_w2_b": b, **with_alpha(alpha)}, {"weight": delta * scale_of(alpha)}


def lokr_whole(weight: Array, alpha: float | None) -> Written:
    """Both factors whole, where alpha does not count."""
    roles, added = lokr(weight, None)
    right = (roles["lokr_w2_a"] @ roles["lokr_w2_b"]).reshape(
        weight.shape[0] // 2, weight.shape[1] // 3, *weight.shape[2:]
    )
    return {"lokr_w1": roles["lokr_w1"], "lokr_w2": right, **with_alpha(alpha)}, added


def full(weight: Array, alpha: float | None) -> Written:  # noqa: ARG001
    difference = drawn(*weight.shape)
    return {"diff": difference}, {"weight": difference.numpy()}


def with_alpha(alpha: float | None) -> Roles:
    return {} if alpha is None else {"alpha": torch.tensor(alpha)}


def scale_of(alpha: float | None) -> float:
    return 1.0 if alpha is None else (alpha or RANK) / RANK


def changed(layer: nn.Module, roles: Roles, strength: float, x: Tensor) -> Tensor:
    """What the layer gives for x, each row of which is changed."""
    made = ChangedLayer(layer)
    made.changes["a"] = changes_of(roles, layer, lambda _: 1.0)
    made.turn_to(Rows([(("a", strength),)] * len(x)))
    output: Tensor = made(x)
    return output


@torch.no_grad()
def assert_is(layer: nn.Module, roles: Roles, added: dict[str, Array], size: tuple[int, ...]) -> None:
    x = drawn(*size)
    for strength in (1.0, 0.4, -2.0):
        other = copy.deepcopy(layer)
        for name, change in added.items():
            getattr(other, name).add_(strength * torch.as_tensor(change))
        torch.testing.assert_close(changed(layer, roles, strength, x), other(x), rtol=1e-4, atol=1e-4)
    for each in changes_of(roles, layer, lambda _: 1.0):
        name, delta = each.delta(layer)
        torch.testing.assert_close(each.scale * delta, torch.as_tensor(added[name]), rtol=1e-4, atol=1e-4)


KINDS: list[Callable[[Array, float | None], Written]] = [low_rank, tucker, loha, lokr, lokr_whole, full]


CASES = [(kind, name) for kind in KINDS for name in LAYERS if kind is not tucker or name in ("convolution", "pixel")]


@pytest.mark.parametrize("alpha", [None, 1.5, 0.0])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_change_is_one_of_the_weight(kind: Callable[..., Written], name: str, alpha: float | None) -> None:
    layer, size = LAYERS[name]
    roles, added = kind(layer.weight.detach().numpy(), alpha)  # type: ignore[operator]
    if alpha == 0.0 and kind is low_rank:
        added = low_rank(layer.weight.detach().numpy(), None)[1]  # type: ignore[operator]
    assert_is(layer, roles, added, size)


@pytest.mark.parametrize("name", [*NORMS, "linear", "convolution"])
def test_a_difference_of_weight_and_bias(name: str) -> None:
    layer, size = {**NORMS, **LAYERS}[name]
    own: Any = layer.weight
    roles = {"diff": drawn(*own.shape), "diff_b": drawn(own.shape[0])}
    assert_is(layer, roles, {"weight": roles["diff"].numpy(), "bias": roles["diff_b"].numpy()}, size)
    assert_is(layer, {"diff_b": roles["diff_b"]}, {"bias": roles["diff_b"].numpy()}, size)


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", [low_rank, loha, lokr])
def test_dora_of_rows_and_of_columns(kind: Callable[..., Written], name: str, axis: str) -> None:
    """W + ΔW with lengths of its own; at another strength, so much of the way from W to it."""
    layer, size = LAYERS[name]
    weight: Array = layer.weight.detach().numpy()  # type: ignore[operator]
    roles, added = kind(weight, 1.5)
    over = tuple(range(1, weight.ndim)) if axis == "rows" else (0, *range(2, weight.ndim))
    merged = weight + added["weight"]
    magnitude = np.abs(drawn(*np.sqrt((weight**2).sum(over, keepdims=True)).shape).numpy()) + 0.5
    want = magnitude * merged / np.sqrt((merged**2).sum(over, keepdims=True)) - weight
    assert_is(layer, {**roles, "dora_scale": torch.as_tensor(magnitude)}, {"weight": want}, size)


@torch.no_grad()
@pytest.mark.parametrize("name", ["linear", "convolution"])
@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
def test_peft_computes_the_same(kind: str, name: str) -> None:
    """peft, which has these kinds too, from the same tensors."""
    layer, size = LAYERS[name]
    options: dict[str, Any] = {"r": RANK, "target_modules": ["0"]}
    if kind in ("lora", "dora"):
        config: Any = peft.LoraConfig(lora_alpha=2, use_dora=kind == "dora", **options)
    elif kind == "loha":
        config = peft.LoHaConfig(alpha=2, **options)
    else:
        config = peft.LoKrConfig(alpha=2, **{**options, "r": 1})  # of rank 3, both factors would be whole
    model = nn.Sequential(copy.deepcopy(layer))
    wrapped: Any = peft.inject_adapter_in_model(config, model)
    for index, parameter in enumerate(p for n, p in wrapped.named_parameters() if "base_layer" not in n):
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)).abs() + 0.1)
    named = {n.split(".", 1)[1]: p for n, p in wrapped.named_parameters() if "base_layer" not in n}
    names = {"lora_A.default.weight": "down", "lora_B.default.weight": "up",
             "lora_magnitude_vector.default.weight": "magnitude"}  # fmt: skip
    roles = {names.get(n, n.removesuffix(".default")): p for n, p in named.items()}
    got = changed(layer, {**roles, "alpha": torch.tensor(2.0)}, 1.0, drawn(*size))
    torch.testing.assert_close(got, wrapped(drawn(*size)), rtol=1e-4, atol=1e-4)


def test_loha_and_lokr_around_a_core() -> None:
    layer, size = LAYERS["convolution"]
    t1, t2 = drawn(RANK, RANK, 3, 3), drawn(RANK, RANK, 3, 3) + 1
    hada = {"hada_w1_a": drawn(RANK, 8), "hada_w1_b": drawn(RANK, 6), "hada_w2_a": drawn(RANK, 8) + 1,
            "hada_w2_b": drawn(RANK, 6) + 1, "hada_t1": t1, "hada_t2": t2}  # fmt: skip

    def spanned(core: Tensor, out: Tensor, into: Tensor) -> Array:
        found = np.zeros((out.shape[1], into.shape[1], 3, 3), np.float32)
        for r, s in np.ndindex(RANK, RANK):
            found += np.multiply.outer(np.multiply.outer(out[r].numpy(), into[s].numpy()), core[r, s].numpy())
        return found

    want = spanned(t1, hada["hada_w1_a"], hada["hada_w1_b"]) * spanned(t2, hada["hada_w2_a"], hada["hada_w2_b"])
    assert_is(layer, hada, {"weight": want}, size)
    lokr_of = {"lokr_w1": drawn(2, 3), "lokr_w2_a": drawn(RANK, 4), "lokr_w2_b": drawn(RANK, 2), "lokr_t2": t2}
    right = spanned(t2, lokr_of["lokr_w2_a"], lokr_of["lokr_w2_b"])
    want = np.stack(
        [np.stack([np.kron(lokr_of["lokr_w1"].numpy(), right[:, :, y, x]) for x in range(3)], -1) for y in range(3)], -2
    )
    assert_is(layer, lokr_of, {"weight": want}, size)


def test_a_matrix_for_a_convolution_of_one_pixel_and_the_reverse() -> None:
    for name, shapes in (("pixel", ((RANK, 6), (8, RANK))), ("linear", ((RANK, 6, 1, 1), (8, RANK, 1, 1)))):
        layer, size = LAYERS[name]
        own: Any = layer.weight
        down, up = (drawn(*shape) for shape in shapes)
        delta = (up.flatten(1) @ down.flatten(1)).reshape(own.shape)
        assert_is(layer, {"down": down, "up": up}, {"weight": delta.numpy()}, size)


@pytest.mark.parametrize(
    "roles",
    [
        {"down": drawn(3, 6)},
        {"down": drawn(3, 6), "up": drawn(8, 2)},
        {"down": drawn(3, 5), "up": drawn(8, 3)},
        {"down": drawn(3, 6), "up": drawn(8, 3), "mid": drawn(3, 3)},
        {"lokr_w1": drawn(2, 3), "lokr_w2": drawn(4, 3)},
        {"lokr_w1": drawn(2, 3)},
        {"hada_w1_a": drawn(8, 3)},
        {"diff": drawn(6, 8)},
        {"diff_b": drawn(6)},
        {"alpha": torch.tensor(1.0)},
        {"dora_scale": drawn(8, 1)},
        {"down": drawn(3, 6), "up": drawn(8, 3), "dora_scale": drawn(7, 1)},
        {"down": drawn(3, 6), "up": drawn(8, 3), "diff": drawn(8, 6)},
    ],
    ids=lambda roles: ",".join(f"{role}{list(tensor.shape)}" for role, tensor in roles.items()),
)
def test_what_does_not_belong_together(roles: Roles) -> None:
    with pytest.raises((UnusableFile, RuntimeError, KeyError)):
        changes_of(roles, LAYERS["linear"][0], lambda _: 1.0)


def test_dora_leaves_the_layer_when_its_lengths_are_the_layers_own() -> None:
    layer, size = LAYERS["linear"]
    own: Any = layer.weight
    roles = {"down": drawn(RANK, 6), "up": torch.zeros(8, RANK), "dora_scale": own.detach().norm(dim=1, keepdim=True)}
    (change,) = changes_of(roles, layer, lambda _: 1.0)
    assert isinstance(change, Decomposed)
    torch.testing.assert_close(changed(layer, roles, 1.0, x := drawn(*size)), layer(x))
