"""A decoder that computes again only where something changed: in a micro-expression most of the face stands still."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from eamfmeg_fast.engine.cpu.decoder import Decoder
from eamfmeg_fast.engine.cpu.front import Motion
from eamfmeg_fast.engine.cpu.workspace import Workspace
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.state import TargetState


@dataclass(frozen=True)
class Tolerance:
    """What may change in a tile without its being computed again, since the values it was last computed from.

    Judged tile by tile, never by a whole frame: a micro-expression is a small part of it.

    Attributes:
        features: root mean square of the change of the warped and attended features, as a share of their own over the
            whole map.
        flow_px: the largest change of the flow, in pixels of the picture; occlusion: of the occlusion. They catch what
            the features do not show, on smooth skin.
        halo: rings of tiles around a changed one that are computed with it, since every convolution reaches further.
        dense_above: share of active tiles above which everything is computed.
        refresh: everything is computed at least once in so many frames.
    """

    features: float = 0.03
    flow_px: float = 0.5
    occlusion: float = 0.05
    halo: int = 1
    dense_above: float = 0.6
    refresh: int = 100


class _Memory:
    """The activations of one target, and the motion that each of their tiles was computed from."""

    def __init__(self, state: TargetState, motion: Motion) -> None:
        self.state, self.age = state, 0
        self.flow, self.occlusion = motion.flow.clone(), motion.occlusion.clone()


class SparseDecoder(Decoder):
    """Keeps the activations of the last frame; see `Decoder` for the rest."""

    _TILE = 4
    """Side of a tile on the feature map: one tile of the Winograd convolution."""

    def __init__(
        self, parameters: Parameters, products: str, workspace: Workspace, tolerance: Tolerance | None = None
    ) -> None:
        super().__init__(parameters, products, workspace)
        self.tolerance = tolerance or Tolerance()
        self._memory: _Memory | None = None

    def draw(self, state: TargetState, motion: Motion) -> Tensor:
        """The pictures, uint8 `[B, H, W, 3]`; several at once are computed densely and leave the memory as it is."""
        if motion.flow.shape[0] != 1:
            self.active = 1.0
            return super().draw(state, motion)
        maps = self._maps(state)
        fresh = self._workspace.buffer("attended", tuple(maps[0].shape))
        self.warp(fresh, state, motion)
        tiles = self._tiles(state, motion, maps[0], fresh)
        if tiles is None:
            self._memory = _Memory(state, motion)
            maps[0].copy_(fresh)
        elif tiles.numel():
            self._remember(tiles, motion, maps[0], fresh)
        if tiles is None or tiles.numel():
            self._decode(maps, tiles)
        pictures = torch.empty(1, self.config.size, self.config.size, 3, dtype=torch.uint8)
        self.finish(pictures, maps[-1], state, motion)
        return pictures

    def _maps(self, state: TargetState) -> list[Tensor]:
        """Every activation from the attended features to the last layer's numbers; all stay between frames."""
        size, channels = self.config.map_size, state.features.shape[1]
        count = 2 * self.config.residual_blocks + 1
        maps = [self._workspace.buffer(f"kept_{i}", (1, size, size, channels)) for i in range(count)]
        for i, upsample in enumerate(self._up):
            size *= 2
            maps.append(self._workspace.buffer(f"up_{i}", (1, size, size, upsample.out_channels), self._stored))
        maps.append(self._workspace.buffer("logits", (1, size, size, 3)))
        return maps

    def _decode(self, maps: list[Tensor], tiles: Tensor | None) -> None:
        rest = iter(maps)
        x = next(rest)
        for block in self._residuals:
            hidden, out = next(rest), next(rest)
            block.into(out, hidden, x, tiles, self._TILE)
            x = out
        tile = self._TILE
        for upsample in self._up:
            out = next(rest)
            upsample.into(out, x, tiles, tile)
            x, tile = out, 2 * tile
        self.head(next(rest), x, tiles, tile)

    def _tiles(self, state: TargetState, motion: Motion, known: Tensor, fresh: Tensor) -> Tensor | None:
        """Numbers of the tiles to compute, int32; None: all of them."""
        memory, limit = self._memory, self.tolerance
        self.active = 1.0
        if memory is None or memory.state is not state or memory.age + 1 >= limit.refresh:
            return None
        memory.age += 1
        changed = self._largest((motion.flow - memory.flow).abs()) * (self.config.size / 2) > limit.flow_px
        changed |= self._largest((motion.occlusion - memory.occlusion).abs()[..., None]) > limit.occlusion
        changed |= self._mean((fresh - known).square_()) > limit.features**2 * fresh.square().mean()
        reach = 2 * limit.halo + 1
        active = F.max_pool2d(changed[None].float(), reach, stride=1, padding=limit.halo)[0] > 0
        self.active = float(active.float().mean())
        if self.active > limit.dense_above:
            self.active = 1.0
            return None
        return active.flatten().nonzero()[:, 0].int()

    def _remember(self, tiles: Tensor, motion: Motion, known: Tensor, fresh: Tensor) -> None:
        memory = self._memory
        if memory is None:
            raise TypeError("tiles were chosen without a memory")
        across = self.config.map_size // self._TILE
        rows, columns = (tiles // across).long(), (tiles % across).long()
        pairs = (known, fresh), (memory.flow, motion.flow), (memory.occlusion[..., None], motion.occlusion[..., None])
        for old, new in pairs:
            # Advanced indices with a slice between them go to the front: [tiles, t, t, C] on both sides.
            self._by_tile(old)[rows, :, columns] = self._by_tile(new)[rows, :, columns]

    def _largest(self, x: Tensor) -> Tensor:
        return self._by_tile(x).amax(dim=(1, 3, 4))

    def _mean(self, x: Tensor) -> Tensor:
        return self._by_tile(x).mean(dim=(1, 3, 4))

    def _by_tile(self, x: Tensor) -> Tensor:
        """`[1, h, w, C]` as `[h / t, t, w / t, t, C]`."""
        side = self._TILE
        return x[0].unflatten(0, (-1, side)).unflatten(2, (-1, side))
