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

_TILE = 8
"""Side of a tile on the feature map: four tiles of the Winograd convolution."""
_HALO = 4
"""What is looked at around a tile: each convolution reaches one pixel further, and this far it matters."""
_CHANNELS = 64
"""So many channels are compared, evenly chosen: a mean over them is as good as over all."""


@dataclass(frozen=True)
class Tolerance:
    """What may change in a tile without its being computed again.

    Judged tile by tile against the values that the tile was last computed from, never by a whole frame or by the frame
    before: a micro-expression is a small part of the one and slow against the other.

    Attributes:
        change: root mean square of the change of the warped and attended features in a tile and four pixels around it,
            in standard deviations of the whole map; where the warped picture is blended in, times the largest share of
            the picture that the decoder draws there.
        dense_above: share of active tiles above which everything is computed.
        refresh: everything is computed at least once in so many frames.
    """

    change: float = 0.014
    dense_above: float = 0.5
    refresh: int = 60


class _Windows:
    """Every tile's features, with a halo, as they were when it was last computed.

    All its memory is made once: temporary tensors of a megabyte leave holes in the heap, and a process that runs for
    hours grows by them.
    """

    def __init__(self, state: TargetState, features: Tensor) -> None:
        _, height, width, channels = features.shape
        self._step = max(1, channels // _CHANNELS)
        kept = -(-channels // self._step)
        self._rows, self._columns = height // _TILE, width // _TILE
        self._padded = torch.zeros(height + 2 * _HALO, width + 2 * _HALO, kept)
        side = _TILE + 2 * _HALO
        row, column, channel = self._padded.stride()
        steps = (_TILE * row, row, _TILE * column, column, channel)
        self._now = self._padded.as_strided((self._rows, side, self._columns, side, kept), steps)
        self._kept = torch.empty(self._now.shape)
        self._difference = torch.empty(self._now.shape[1:])
        self.restart(state, features)

    def restart(self, state: TargetState, features: Tensor) -> None:
        """Everything is computed now."""
        self.state, self.age = state, 1
        self._look(features)
        self._kept.copy_(self._now)
        self._deviation = float(features.std())

    def change(self, features: Tensor) -> Tensor:
        """Root mean square of the change in each tile's window, in deviations of the map, `[h / t, w / t]`."""
        self._look(features)
        change = torch.empty(self._rows, self._columns)
        for row in range(self._rows):
            torch.sub(self._kept[row], self._now[row], out=self._difference)
            torch.mean(self._difference.square_(), dim=(0, 2, 3), out=change[row])
        return change.sqrt_() / max(self._deviation, 1e-20)

    def keep(self, tiles: Tensor) -> None:
        """Remember what these tiles are computed from now: what `change` looked at last."""
        for tile in tiles.tolist():
            row, column = divmod(tile, self._columns)
            self._kept[row, :, column] = self._now[row, :, column]

    def _look(self, features: Tensor) -> None:
        """Put `[1, h, w, C]` where the windows lie, `[h / t, t + 2 halo, w / t, t + 2 halo, C']`, which overlap."""
        self._padded[_HALO:-_HALO, _HALO:-_HALO] = features[0, :, :, :: self._step]


class SparseDecoder(Decoder):
    """Keeps the activations of the last frame; see `Decoder` for the rest."""

    def __init__(
        self, parameters: Parameters, products: str, workspace: Workspace, tolerance: Tolerance | None = None
    ) -> None:
        super().__init__(parameters, products, workspace)
        self.tolerance = tolerance or Tolerance()
        self._windows: _Windows | None = None

    def draw(self, state: TargetState, motion: Motion) -> Tensor:
        """The pictures, uint8 `[B, H, W, 3]`; several at once are computed densely and leave the memory as it is."""
        self.active = 1.0
        if motion.flow.shape[0] != 1:
            return super().draw(state, motion)
        maps = self._maps(state)
        self.warp(maps[0], state, motion)
        tiles = self._tiles(state, motion, maps[0])
        if tiles is None or tiles.numel():
            # Whoever interrupts this leaves activations that nothing may be compared with.
            windows, self._windows = self._windows, None
            self._decode(maps, tiles)
            self._windows = windows
        pictures = torch.empty(1, self.config.size, self.config.size, 3, dtype=torch.uint8)
        # The blend follows the flow everywhere: done by tiles it would cost accuracy and save little.
        self.finish(pictures, maps[-1], state, motion)
        return pictures

    def _maps(self, state: TargetState) -> list[Tensor]:
        """Every activation from the attended features to the last layer's numbers; they stay between frames."""
        size, channels = self.config.map_size, state.features.shape[1]
        count = 2 * self.config.residual_blocks + 1
        maps = [self._workspace.buffer(f"kept_{i}", (1, size, size, channels)) for i in range(count)]
        for i, upsample in enumerate(self._up):
            size *= 2
            maps.append(self._workspace.buffer(f"kept_up_{i}", (1, size, size, upsample.out_channels), self._stored))
        maps.append(self._workspace.buffer("kept_logits", (1, size, size, 3)))
        return maps

    def _decode(self, maps: list[Tensor], tiles: Tensor | None) -> None:
        rest = iter(maps)
        x = next(rest)
        for block in self._residuals:
            hidden, out = next(rest), next(rest)
            block.into(out, hidden, x, tiles, _TILE)
            x = out
        tile = _TILE
        for upsample in self._up:
            out = next(rest)
            upsample.into(out, x, tiles, tile)
            x, tile = out, 2 * tile
        self.head(next(rest), x, tiles, tile)

    def _tiles(self, state: TargetState, motion: Motion, features: Tensor) -> Tensor | None:
        """Numbers of the tiles to compute, int32; None: all of them."""
        limit, windows = self.tolerance, self._windows
        if windows is None:
            self._windows = _Windows(state, features)
            return None
        if windows.state is not state or windows.age >= limit.refresh:
            windows.restart(state, features)
            return None
        change = windows.change(features)
        if self.config.skip:
            drawn = 1 - motion.occlusion
            change *= F.max_pool2d(drawn, _TILE)[0]
        active = change > limit.change
        share = float(active.float().mean())
        if share > limit.dense_above:
            windows.restart(state, features)
            return None
        self.active, windows.age = share, windows.age + 1
        tiles = active.flatten().nonzero()[:, 0].int()
        if tiles.numel():
            windows.keep(tiles)
        return tiles
