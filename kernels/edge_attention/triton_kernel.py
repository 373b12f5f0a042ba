"""edge_attention in Triton: one kernel, one launch. Versions: 1. a program owns places of a strip and some channels.

Both modes have one form: `out[own, c] = sum over others of weight[own, other] value[other, c]`. In "released" a program
owns keys and the others are queries, so each column of weights is a softmax; in "edge-query" it owns queries, each row
is one.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from eamfmeg_fast.kernels.triton_build import Variant, interpreting


@triton.jit
def _axis(flow_ptr, at, there, length, AXIS: tl.constexpr, ALIGN: tl.constexpr, MUTANT: tl.constexpr):
    """First tap, share of the second, and finiteness, on one axis (0: x, 1: y) of the entries `at` of the flow."""
    axis: tl.constexpr = 1 - AXIS if MUTANT == 1 else AXIS
    coordinate = tl.load(flow_ptr + 2 * at + axis, mask=there, other=0.0)
    finite = tl.abs(coordinate) < float("inf")
    # Far outside is outside; without the bound the position would overflow.
    bounded = tl.minimum(tl.maximum(tl.where(finite, coordinate, 0.0), -100.0), 100.0)
    corners: tl.constexpr = ALIGN != (MUTANT == 2)
    if corners:
        position = (bounded + 1.0) * 0.5 * (length - 1)
    else:
        position = ((bounded + 1.0) * length - 1.0) * 0.5
    low = tl.floor(position)
    if MUTANT == 4:
        finite = there
    return low.to(tl.int32), position - low, finite & there


@triton.jit
def _places(frame, at, there, ALIGN: tl.constexpr, MUTANT: tl.constexpr):
    """Where the entries `at` of the flow gather, with their occlusion: the second argument of what follows."""
    flow_ptr, occlusion_ptr, height, width = frame
    x, right, finite_x = _axis(flow_ptr, at, there, width, 0, ALIGN, MUTANT)
    y, below, finite_y = _axis(flow_ptr, at, there, height, 1, ALIGN, MUTANT)
    occlusion = tl.load(occlusion_ptr + at, mask=there, other=0.0)
    return x, y, right, below, finite_x & finite_y, occlusion, height, width


@triton.jit
def _gather(map_ptr, places, k, wanted, LENGTH: tl.constexpr, MUTANT: tl.constexpr):
    """Channels `k` of a map of `LENGTH` channels, bilinear, zero outside, not occluded: `[places, k]` in float32."""
    x, y, right, below, finite, _, height, width = places
    total = tl.zeros([x.shape[0], k.shape[0]], tl.float32)
    for tap in tl.static_range(3 if MUTANT == 3 else 4):
        tap_x = x + tap % 2
        tap_y = y + tap // 2
        inside = finite & (tap_x >= 0) & (tap_x < width) & (tap_y >= 0) & (tap_y < height)
        share = (right if tap % 2 == 1 else 1.0 - right) * (below if tap >= 2 else 1.0 - below)
        first = (tap_y * width + tap_x).to(tl.int64) * LENGTH
        mask = inside[:, None] & wanted[None, :]
        value = tl.load(map_ptr + first[:, None] + k[None, :], mask=mask, other=0.0)
        total += value.to(tl.float32) * share[:, None]
    return total


@triton.jit
def _projected(projection, places, k, wanted, LENGTH: tl.constexpr, MUTANT: tl.constexpr):
    """A gathered projection; its bias comes after the warp and the occlusion."""
    map_ptr, bias_ptr = projection
    gathered = _gather(map_ptr, places, k, wanted, LENGTH, MUTANT)
    occlusion = places[5][:, None]
    bias = tl.load(bias_ptr + k, mask=wanted, other=0.0)[None, :]
    if MUTANT == 6:
        return (gathered + bias) * occlusion
    return gathered * occlusion + bias


@triton.jit
def _edge(edge_ptr, places, MUTANT: tl.constexpr):
    """The warped edge map, `[places]`: the occlusion leaves it alone."""
    one = tl.arange(0, 1)
    edge = tl.sum(_gather(edge_ptr, places, one, one == 0, 1, MUTANT), axis=1)
    if MUTANT == 5:
        edge = edge * places[5]
    return edge


@triton.jit
def _values(value, places, k, wanted, at, count, ELEMENT: tl.constexpr, CHANNELS: tl.constexpr, MUTANT: tl.constexpr):
    """Values at `at`, as a factor of the product; beyond the strip they are zero."""
    end = count - 1 if MUTANT == 10 else count
    return tl.where((at < end)[:, None], _projected(value, places, k, wanted, CHANNELS, MUTANT), 0.0).to(ELEMENT)


@triton.jit
def _scored(scores, there, DIM: tl.constexpr, MUTANT: tl.constexpr):
    """Scores as the softmax takes them: what lies beyond the strip weighs nothing."""
    if MUTANT == 7:
        scores = scores / tl.sqrt(DIM * 1.0)
    return tl.where(there, scores, float("-inf"))


@triton.jit
def _weights(scores, top, last, MUTANT: tl.constexpr):
    """exp(scores - top), and what of it counts in the normaliser."""
    weights = tl.exp(scores if MUTANT == 8 else scores - top)
    return weights, tl.where(last, 0.0, weights) if MUTANT == 9 else weights


@triton.jit
def _keys(key, edge, frame, at, count, d, ELEMENT: tl.constexpr, DIM: tl.constexpr, ALIGN: tl.constexpr,
          MUTANT: tl.constexpr):  # fmt: skip
    """The keys of "released", which carry the edge: `[at, d]`."""
    edge_ptr, weight_ptr = edge
    places = _places(frame, at, at < count, ALIGN, MUTANT)
    weight = tl.load(weight_ptr + d, mask=d < DIM, other=0.0)
    keys = _projected(key, places, d, d < DIM, DIM, MUTANT)
    return (keys + _edge(edge_ptr, places, MUTANT)[:, None] * weight[None, :]).to(ELEMENT)


@triton.jit
def _released(maps, frame, own, count, d, k, ELEMENT: tl.constexpr, OTHER: tl.constexpr, STEP: tl.constexpr,
              TILED: tl.constexpr, DIM: tl.constexpr, CHANNELS: tl.constexpr, ALIGN: tl.constexpr,
              MUTANT: tl.constexpr):  # fmt: skip
    """`out_j = sum_i softmax_j(q_i . k_j) v_i` for the keys j in `own`."""
    query, key, value, edge = maps
    keys = _keys(key, edge, frame, own, count, d, ELEMENT, DIM, ALIGN, MUTANT)
    total = tl.zeros([own.shape[0], k.shape[0]], tl.float32)
    for start in range(0, count, OTHER):
        at = start + tl.arange(0, OTHER)
        places = _places(frame, at, at < count, ALIGN, MUTANT)
        queries = tl.trans(_projected(query, places, d, d < DIM, DIM, MUTANT).to(ELEMENT))
        scores = tl.dot(keys, queries, input_precision="ieee")
        scores = _scored(scores, (own < count)[:, None], DIM, MUTANT)
        if TILED:
            top, normaliser = _normaliser(queries, key, edge, frame, count, d, ELEMENT, STEP, DIM, ALIGN, MUTANT)
            weights, _ = _weights(scores, top[None, :], False, MUTANT)
        else:
            top = tl.max(scores, axis=0)
            weights, counted = _weights(scores, top[None, :], (own == count - 1)[:, None], MUTANT)
            normaliser = tl.sum(counted, axis=0)
        weights = (weights * (1.0 / normaliser)[None, :]).to(ELEMENT)
        values = _values(value, places, k, k < CHANNELS, at, count, ELEMENT, CHANNELS, MUTANT)
        total = tl.dot(weights, values, total, input_precision="ieee")
    return total


@triton.jit
def _normaliser(queries, key, edge, frame, count, d, ELEMENT: tl.constexpr, STEP: tl.constexpr, DIM: tl.constexpr,
                ALIGN: tl.constexpr, MUTANT: tl.constexpr):  # fmt: skip
    """The largest score of each query (a column of `queries`) and its sum of weights, over all keys of the strip."""
    top = tl.full([queries.shape[1]], float("-inf"), tl.float32)
    total = tl.zeros([queries.shape[1]], tl.float32)
    for start in range(0, count, STEP):
        at = start + tl.arange(0, STEP)
        keys = _keys(key, edge, frame, at, count, d, ELEMENT, DIM, ALIGN, MUTANT)
        scores = _scored(tl.dot(keys, queries, input_precision="ieee"), (at < count)[:, None], DIM, MUTANT)
        higher = tl.maximum(top, tl.max(scores, axis=0))
        _, counted = _weights(scores, higher[None, :], (at == count - 1)[:, None], MUTANT)
        total = total * (1.0 if MUTANT == 8 else tl.exp(top - higher)) + tl.sum(counted, axis=0)
        top = higher
    return top, total


@triton.jit
def _edge_query(maps, frame, own, count, d, k, ELEMENT: tl.constexpr, OTHER: tl.constexpr, DIM: tl.constexpr,
                CHANNELS: tl.constexpr, ALIGN: tl.constexpr, MUTANT: tl.constexpr):  # fmt: skip
    """`out_i = sum_j softmax_j(q_i . k_j) v_j` for the queries i in `own`: q_i . k_j = e_i (w . k_j) + b . k_j."""
    query, key, value, edge = maps
    # At most 2048 weights of at most 1 then add up to at most 1, and sums of the largest values stay finite. float16
    # lacks the range for it, and the need.
    SHARE: tl.constexpr = 1.0 if ELEMENT == tl.float16 else 1.0 / 2048
    edge_ptr, weight_ptr = edge
    slope = tl.load(weight_ptr + d, mask=d < DIM, other=0.0)
    offset = tl.load(query[1] + d, mask=d < DIM, other=0.0)
    asked = _edge(edge_ptr, _places(frame, own, own < count, ALIGN, MUTANT), MUTANT)
    top = tl.full([own.shape[0]], float("-inf"), tl.float32)
    normaliser = tl.zeros([own.shape[0]], tl.float32)
    total = tl.zeros([own.shape[0], k.shape[0]], tl.float32)
    for start in range(0, count, OTHER):
        at = start + tl.arange(0, OTHER)
        places = _places(frame, at, at < count, ALIGN, MUTANT)
        keys = _projected(key, places, d, d < DIM, DIM, MUTANT)
        a = tl.sum(keys * slope[None, :], axis=1)
        c = tl.sum(keys * offset[None, :], axis=1)
        scores = _scored(asked[:, None] * a[None, :] + c[None, :], (at < count)[None, :], DIM, MUTANT)
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights, counted = _weights(scores, higher[:, None], (at == count - 1)[None, :], MUTANT)
        fade = tl.exp(top - higher)
        if MUTANT == 8:
            fade = tl.full([own.shape[0]], 1.0, tl.float32)
        normaliser = normaliser * fade + tl.sum(counted, axis=1)
        values = _values(value, places, k, k < CHANNELS, at, count, ELEMENT, CHANNELS, MUTANT)
        total = tl.dot((weights * SHARE).to(ELEMENT), values, total * fade[:, None], input_precision="ieee")
        top = higher
    return total * (1.0 / (normaliser * SHARE))[:, None]


@triton.jit
def edge_attention_kernel(
    out_ptr, query_ptr, key_ptr, value_ptr, features_ptr, edge_ptr, flow_ptr, occlusion_ptr, weight_ptr, query_bias_ptr,
    key_bias_ptr, value_bias_ptr, gamma_ptr, step_query, step_key, step_value, step_features, step_edge, height, width,
    strips, count, DIM: tl.constexpr, CHANNELS: tl.constexpr, RELEASED: tl.constexpr, ALIGN: tl.constexpr,
    TILED: tl.constexpr, OWN: tl.constexpr, OTHER: tl.constexpr, STEP: tl.constexpr, BLOCK_D: tl.constexpr,
    GROUP: tl.constexpr, NATIVE: tl.constexpr, MUTANT: tl.constexpr,
):  # fmt: skip
    """GROUP channels of OWN of the `count` places of one strip; planted faults are numbered as in samples.py.

    Args: maps are contiguous but for their `step` from picture to picture. OTHER: others weighed at a time. TILED:
    count > OWN, where "released" looks for each query's normaliser first, STEP keys at a time. NATIVE: matrix products
    take the type of the maps; otherwise float32, since the interpreter multiplies bfloat16 wrongly.
    """
    ELEMENT: tl.constexpr = value_ptr.dtype.element_ty if NATIVE else tl.float32
    GROUPS: tl.constexpr = (CHANNELS + GROUP - 1) // GROUP
    tiles = tl.cdiv(count, OWN)
    own = tl.program_id(0) // GROUPS % tiles * OWN + tl.arange(0, OWN)
    strip = (tl.program_id(0) // (GROUPS * tiles)).to(tl.int64)
    k = tl.program_id(0) % GROUPS * GROUP + tl.arange(0, GROUP)
    d = tl.arange(0, BLOCK_D)
    picture = strip // strips * (0 if MUTANT == 12 else 1)
    query = query_ptr + picture * step_query, query_bias_ptr
    key = key_ptr + picture * step_key, key_bias_ptr
    value = value_ptr + picture * step_value, value_bias_ptr
    maps = query, key, value, (edge_ptr + picture * step_edge, weight_ptr)
    # A strip is whole rows: its places follow one another in memory, and so do the strips of all pictures.
    frame = flow_ptr + strip * count * 2, occlusion_ptr + strip * count, height, width
    if RELEASED:
        total = _released(maps, frame, own, count, d, k, ELEMENT, OTHER, STEP, TILED, DIM, CHANNELS, ALIGN, MUTANT)
    else:
        total = _edge_query(maps, frame, own, count, d, k, ELEMENT, OTHER, DIM, CHANNELS, ALIGN, MUTANT)
    places = _places(frame, own, own < count, ALIGN, MUTANT)
    rest = _gather(features_ptr + picture * step_features, places, k, k < CHANNELS, CHANNELS, MUTANT)
    if MUTANT != 11:
        rest = rest * places[5][:, None]
    wanted = (own < count)[:, None] & (k < CHANNELS - (MUTANT == 13))[None, :]
    at = (strip * count + own)[:, None] * CHANNELS + k[None, :]
    tl.store(out_ptr + at, (tl.load(gamma_ptr) * total + rest).to(out_ptr.dtype.element_ty), mask=wanted)
    if MUTANT == 14:
        tl.store(out_ptr + tl.num_programs(0).to(tl.int64) // (GROUPS * tiles) * count * CHANNELS, 0.0)


def edge_attention_triton(out: Tensor, *args: Any, mutant: int = 0) -> None:
    """Attend into the contiguous `out`; arguments as in `edge_attention`; `mutant` switches a planted fault on."""
    query, key, value, features, edge, flow, occlusion, *vectors = args[:12]
    strip_rows, mode, align_corners = args[12:]
    if out.numel() == 0:
        return
    released = mode == "released"
    maps = [_one_picture_dense(x) for x in (query if released else key, key, value, features, edge)]
    rest = [x.contiguous() for x in (flow, occlusion, *vectors)]
    strips, count = out.shape[1] // strip_rows, strip_rows * out.shape[2]
    constants, launch = _launch(out.element_size(), key.shape[3], value.shape[3], count, released)
    tiles, groups = triton.cdiv(count, constants["OWN"]), triton.cdiv(value.shape[3], constants["GROUP"])
    edge_attention_kernel[(out.shape[0] * strips * tiles * groups,)](
        out, *maps, *rest, *(x.stride(0) for x in maps), *edge.shape[1:], strips, count,
        **constants, **launch, ALIGN=align_corners, NATIVE=not interpreting(), MUTANT=mutant,
    )  # fmt: skip


def _one_picture_dense(x: Tensor) -> Tensor:
    """`x`, or a copy of it, whose pictures are contiguous; one picture in a whole batch stays one."""
    return x if x[0].is_contiguous() else x.contiguous()


def _launch(
    item_size: int, dim: int, channels: int, count: int, released: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Compile-time constants, and warps and stages, for a strip of `count` places.

    With 16 strips and 8 groups of channels one picture of the network keeps 128 multiprocessors busy. Products of
    float32 hold their factors in registers: with more others or channels, or a second stage, they would spill.
    """
    exact = item_size == 4
    # Short in the interpreter, so that its small cases take more than one block too.
    longest = 16 if interpreting() else 128 if released and count > 256 else 256
    own = min(max(triton.next_power_of_2(count), 16), longest)
    constants = {
        "DIM": dim, "CHANNELS": channels, "RELEASED": released, "TILED": count > own, "OWN": own,
        "OTHER": 16 if exact or count > 256 else 32, "STEP": 32 if exact else 128,
        "BLOCK_D": max(triton.next_power_of_2(dim), 16), "GROUP": 16 if channels <= 16 or (exact and released) else 32,
    }  # fmt: skip
    return constants, {"num_warps": 8 if own > 64 else 4, "num_stages": 1 if exact else 2}


def variants() -> list[Variant]:
    """The launches of one frame, for compilation ahead of time."""
    names = "out query key value features".split()
    vectors = "edge flow occlusion weight query_bias key_bias value_bias gamma".split()
    numbers = "step_query step_key step_value step_features step_edge height width strips count".split()
    found = []
    for kind, released in ((kind, released) for kind in ("fp32", "fp16", "bf16") for released in (True, False)):
        signature = {f"{name}_ptr": f"*{kind}" for name in names} | {f"{name}_ptr": "*fp32" for name in vectors}
        signature |= dict.fromkeys(numbers, "i32")
        for width in (64, 512) if released and kind != "bf16" else (64,):
            constants, launch = _launch(4 if kind == "fp32" else 2, 32, 256, 4 * width, released)
            constants |= {"ALIGN": False, "NATIVE": True, "MUTANT": 0}
            name = f"{kind}, {'released' if released else 'edge-query'}, 64x{width}x256"
            found.append(Variant(name, edge_attention_kernel, signature, constants, **launch))
    return found
