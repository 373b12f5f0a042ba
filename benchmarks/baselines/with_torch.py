"""PyTorch: as upstream's demo runs it, eager, and compiled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from baselines import Frame
from baselines.graph import build as build_graph
from baselines.kit import Kit, picture
from eamfmeg_fast.kernels.geometry import affine_ratio, identity_grid
from eamfmeg_fast.network import Keypoints, Network
from eamfmeg_fast.network.grain import split_grain
from eamfmeg_fast.network.stillness import settle_flow


def build(
    kit: Kit,
    threads: int,
    *,
    upstream: bool = False,
    channels_last: bool = False,
    bf16: bool = False,
    compiled: bool = False,
) -> Frame:
    """See the package."""
    torch.set_num_threads(threads)
    if upstream:
        return _numpy(_upstream(kit), False)
    graph = build_graph(kit.network())
    target = [torch.from_numpy(x) for x in kit.inputs().values()]
    if channels_last:
        graph = graph.to(memory_format=torch.channels_last)
        target = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in target]
    call: Callable[..., tuple[Tensor, Tensor]] = graph
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        call = torch.compile(graph, dynamic=False)
    return _numpy(lambda driving: call(driving, *target), bf16)


def _numpy(call: Callable[[Tensor], tuple[Tensor, Tensor]], bf16: bool) -> Frame:
    def frame(driving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # no_grad, not inference_mode: freezing takes the weights for constants only outside of it.
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            prediction, kp = call(torch.from_numpy(driving))
        return prediction.float().numpy(), kp.float().numpy()

    return frame


def _upstream(kit: Kit) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The generator is handed the target's picture and encodes it again for each frame."""
    network: Network = kit.network().requires_grad_(False)
    target, initial = (torch.from_numpy(picture(frame)) for frame in (kit.target(), kit.first()))
    config = network.config
    with torch.no_grad():
        found = network.kp_detector(target)
        start, edges = network.kp_detector(initial).keypoints, network.edges(found.features)
        own = network.motion(network.generator.dense_motion_network.down(target), found.keypoints, found.keypoints)
        rest = own.occlusion[:, 0] if config.counts_from_rest else None

    still = identity_grid(config.map_size, config.map_size, config.pixel_grid, dtype=torch.float32)
    strength = torch.from_numpy(kit.inputs("front")["strength"])

    def frame(driving: Tensor) -> tuple[Tensor, Tensor]:
        points = network.kp_detector(driving).keypoints
        kp = found.keypoints.kp + strength * (points.kp - start.kp)
        moved = Keypoints(kp, affine_ratio(points.jacobian, start.jacobian) @ found.keypoints.jacobian)
        dense = network.motion(network.generator.dense_motion_network.down(target), found.keypoints, moved)
        dense = dense._replace(flow=settle_flow(dense.flow, still, config.still_px))
        base, grain = split_grain(target) if config.skip else (target, None)
        drawn = network.render(base, network.generator.encode(target), edges, dense, grain, rest)
        return drawn.prediction, points.kp

    return frame
