"""One driving frame as a plain PyTorch graph with the target's part as inputs: what the rivals run and export.

The arithmetic is the reference's; the glue is written as few operations that every exporter knows, without the
reference's guards against non-finite flow, so that no rival pays for what it does not need.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eamfmeg_fast.engine import Engine
from eamfmeg_fast.kernels.geometry import affine_of, affine_ratio, identity_grid
from eamfmeg_fast.network import Keypoints, Network
from eamfmeg_fast.network.relative import hull_scale
from eamfmeg_fast.network.stillness import settle_flow, visible_since_rest

FRONT = ("thumbnail", "kp_target", "jacobian_target", "kp_initial", "jacobian_initial", "strength")
"""The front's inputs behind the driving picture; all of them are known once the target and the first frame are."""


def back_inputs(network: Network) -> tuple[str, ...]:
    """The back's inputs behind flow and occlusion, all known once the target is."""
    config = network.config
    edge = ("edge_map",) if network.attention_module is not None else ()
    rest = ("rest",) if config.counts_from_rest else ()
    return ("features", *edge, *(("picture", "grain") if config.skip else ()), *rest)


class Front(nn.Module):
    """Driving picture `[1, 3, H, W]` -> keypoints `[1, K, 2]`, flow `[1, h, w, 2]`, occlusion `[1, 1, h, w]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.config = network.config
        self.detector, self.dense = network.kp_detector, network.generator.dense_motion_network
        side = network.config.map_size
        maps = {"grid": side, "kp_grid": side - 2 * (self._shrink())}
        for name, size in maps.items():
            grid = identity_grid(size, size, network.config.pixel_grid, dtype=torch.float32)
            self.register_buffer(name, grid.reshape(-1, 2))

    def _shrink(self) -> int:
        return self.config.keypoint_kernel // 2 - self.config.keypoint_padding

    def forward(
        self,
        driving: Tensor,
        thumbnail: Tensor,
        kp_target: Tensor,
        jacobian_target: Tensor,
        kp_initial: Tensor,
        jacobian_initial: Tensor,
        strength: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kp, jacobian = self.detect(driving)
        moved = kp_target + strength * (kp - kp_initial)
        turned = affine_ratio(jacobian, jacobian_initial) @ jacobian_target
        affine = affine_of(kp_target, jacobian_target, moved, turned)
        flow, occlusion = self.motion(thumbnail, kp_target, moved, affine)
        return kp, flow, occlusion

    def detect(self, driving: Tensor) -> tuple[Tensor, Tensor]:
        """Keypoints `[1, K, 2]` and Jacobians `[1, K, 2, 2]`."""
        weight, stride = self.detector.down.weight, self.detector.down.stride
        features = self.detector.predictor(_reduced(driving, weight, stride))
        count = self.config.num_kp
        heat = torch.softmax(self.detector.kp(features).reshape(1, count, -1) / self.config.temperature, dim=-1)
        kp = (heat[..., None] * self.kp_grid).sum(dim=2)
        maps = self.detector.jacobian(features).reshape(1, count, 4, -1)
        jacobian = (heat[:, :, None] * maps).sum(dim=-1)
        return kp, jacobian.reshape(1, count, 2, 2)

    def motion(self, thumbnail: Tensor, kp_target: Tensor, moved: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
        """Flow and occlusion from the K affine motions."""
        side, count = self.config.map_size, self.config.num_kp
        places = self.grid @ affine[0, :, :, :2].transpose(-1, -2) + affine[0, :, None, :, 2]
        grids = torch.cat([self.grid[None], places]).reshape(count + 1, side, side, 2)
        copies = thumbnail.expand(count + 1, -1, -1, -1)
        warped = _sampled(copies, grids, self.config.align_corners)
        heat = self._gaussians(moved) - self._gaussians(kp_target)
        heat = torch.cat([torch.zeros_like(heat[:1]), heat]).reshape(count + 1, 1, side, side)
        inputs = torch.cat([heat, warped], dim=1).reshape(1, 4 * (count + 1), side, side)
        features = self.dense.hourglass(inputs)
        mask = torch.softmax(self.dense.mask(features), dim=1)[0, 1:].reshape(count, -1, 1)
        flow = self.grid + (mask * (places - self.grid)).sum(dim=0)
        flow, rest = flow.reshape(1, side, side, 2), self.grid.reshape(side, side, 2)
        flow = settle_flow(flow, rest, self.config.still_px)
        return flow, torch.sigmoid(self.dense.occlusion(features))

    def _gaussians(self, kp: Tensor) -> Tensor:
        distance = ((self.grid - kp[0, :, None]) ** 2).sum(dim=-1)
        return torch.exp(distance * (-0.5 / self.config.kp_variance))


class Back(nn.Module):
    """Flow, occlusion and the target's maps -> prediction `[1, 3, H, W]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.config = network.config
        self.generator, self.attend = network.generator, network.attention_module
        self.names = back_inputs(network)
        grid = network.config.pixel_grid
        for name, size in {"small_grid": network.config.map_size, "large_grid": network.config.size}.items():
            self.register_buffer(name, identity_grid(size, size, grid, dtype=torch.float32)[None])

    def forward(self, flow: Tensor, occlusion: Tensor, *target: Tensor) -> Tensor:
        have = dict(zip(self.names, target))
        align = self.config.align_corners
        out = _sampled(have["features"], flow, align) * occlusion
        if self.attend is not None:
            out = self.attend(out, _sampled(have["edge_map"], flow, align)).features
        out = self.generator.bottleneck(out)
        for block in self.generator.up_blocks:
            out = block(out)
        prediction = torch.sigmoid(self.generator.final(out))
        if not self.config.skip:
            return prediction
        visible = _enlarged(visible_since_rest(occlusion[:, 0], have.get("rest"))[:, None], self.config.size)
        prediction = prediction + visible * (self._deformed(have["picture"], flow) - prediction)
        return (prediction + have["grain"]).clamp(0, 1)

    def _deformed(self, picture: Tensor, flow: Tensor) -> Tensor:
        # The reference enlarges the displacement with pixel_grid "centres", and the grid itself with "corners".
        centres = self.config.pixel_grid == "centres"
        small = flow - self.small_grid if centres else flow
        large = _enlarged(small.permute(0, 3, 1, 2), self.config.size).permute(0, 2, 3, 1)
        large = large + self.large_grid if centres else large
        align = self.config.align_corners
        return F.grid_sample(picture, large, mode="bicubic", padding_mode="border", align_corners=align)


class Whole(nn.Module):
    """Front and back: driving picture -> prediction and the driving keypoints."""

    def __init__(self, front: Front, back: Back) -> None:
        super().__init__()
        self.front, self.back = front, back

    def forward(self, driving: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        kp, flow, occlusion = self.front(driving, *target[: len(FRONT)])
        return self.back(flow, occlusion, *target[len(FRONT) :]), kp


def build(network: Network) -> Whole:
    """The graph of `network`, which stays as it is."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    return Whole(Front(network), Back(network)).eval()


def target_inputs(network: Network, target: np.ndarray, initial: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that is computed once: float32, by input name."""
    engine = Engine(network, backend="reference", precision="fp32", device="cpu")
    state, start = engine.prepare(target), engine.detect(initial)
    found = {"thumbnail": state.thumbnail, "features": state.features, "picture": state.picture, "grain": state.grain}
    found["rest"] = state.rest
    found |= _prefixed("target", state.keypoints) | _prefixed("initial", start)
    found["edge_map"] = None if state.edge_map is None else state.edge_map[:, None]
    config = network.config
    scale = hull_scale(state.keypoints.kp, start.kp) if config.adapt_scale else torch.ones(1)
    found["strength"] = (config.gain * scale).reshape(1, 1, 1)
    return {name: found[name].contiguous().numpy() for name in (*FRONT, *back_inputs(network))}


def _prefixed(name: str, points: Keypoints) -> Mapping[str, Tensor]:
    return {f"kp_{name}": points.kp, f"jacobian_{name}": points.jacobian}


def _sampled(x: Tensor, grid: Tensor, align_corners: bool) -> Tensor:
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners)


def _enlarged(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def _reduced(picture: Tensor, weight: Tensor, stride: int) -> Tensor:
    size = weight.shape[-1]
    before = size // 2 if size % 2 else (size - stride) // 2
    out = F.conv2d(picture, weight, stride=stride, padding=before, groups=3)
    side = picture.shape[-1] // stride
    return out[:, :, :side, :side]
