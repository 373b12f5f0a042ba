"""Numbers that the whole package agrees on: network presets and limits on what comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from eamfmeg_fast.errors import OptionError, ShapeError


@dataclass(frozen=True)
class Limits:
    """Bounds on every input, so that memory is bounded whatever a file promises."""

    max_picture_pixels: int = 40_000_000
    max_video_pixels: int = 3840 * 2160
    max_picture_bytes: int = 64 << 20
    min_side: int = 8
    max_frames_in_folder: int = 1_000_000
    max_checkpoint_bytes: int = 4 << 30
    max_weights_bytes: int = 1 << 30
    max_header_bytes: int = 8 << 20


LIMITS = Limits()
DEFAULT_WEIGHTS = "base"
"""What is used where no weights are named."""
MAX_STILL_PX = 8.0
"""Of `NetworkConfig.still_px`, at 256 px: more would hold back every micro-expression."""


@dataclass(frozen=True)
class HourglassConfig:
    """Widths of one hourglass: `block_expansion * 2**i` channels at level i, never more than `max_features`."""

    block_expansion: int
    num_blocks: int = 5
    max_features: int = 1024


@dataclass(frozen=True)
class NetworkConfig:
    """Everything that fixes the shapes and the arithmetic of one network of the family.

    Attributes:
        preset: the name under which weights files know it.
        num_kp: keypoints K.
        keypoint, dense_motion: the two hourglasses, both at `scale_factor` times the picture's size.
        keypoint_kernel, keypoint_padding: of the keypoint and Jacobian heads (upstream: 7 and 0).
        mask_kernel: of the mask and occlusion heads, padded to keep the size.
        temperature: of the softmax over keypoint logits.
        kp_variance: of the Gaussians that the dense motion sees.
        generator_expansion, generator_max_features, down_blocks, residual_blocks: the generator.
        edge: has the auxiliary edge head (AEP).
        attention: None, "released" (edge as second key, V @ A) or "edge-query" (the published description).
        attention_dim: channels of query and key.
        strip_rows: rows of one attention strip.
        skip: the prediction blends the warped target in, weighted by the occlusion; that warp is bicubic, since what
            it blurs stays blurred.
        relative_occlusion: the blend counts visibility in parts of what it is at rest (`network.stillness`).
        still_px: displacements of up to so many pixels, at 256 px whatever the size, become none
            (`network.stillness`); 0: never.
        gain: default motion gain; adapt_scale: hull-area scale on keypoint displacements.
        align_corners: of every grid_sample (False: PyTorch since 1.4; True: PyTorch 1.0).
        pixel_grid: "corners" (upstream: -1 and 1 are the centres of the outer pixels of every map) or "centres" (they
            are the outer edges, so maps of all sizes agree and the identity flow samples every pixel exactly).
        size: side of the square picture in pixels.
    """

    preset: str
    num_kp: int = 10
    keypoint: HourglassConfig = HourglassConfig(32)
    dense_motion: HourglassConfig = HourglassConfig(64)
    keypoint_kernel: int = 7
    keypoint_padding: int = 0
    mask_kernel: int = 7
    temperature: float = 0.1
    kp_variance: float = 0.01
    scale_factor: float = 0.25
    generator_expansion: int = 64
    generator_max_features: int = 512
    down_blocks: int = 2
    residual_blocks: int = 6
    edge: bool = False
    attention: str | None = None
    attention_dim: int = 32
    strip_rows: int = 4
    skip: bool = False
    relative_occlusion: bool = False
    still_px: float = 0.0
    gain: float = 1.0
    adapt_scale: bool = False
    align_corners: bool = False
    pixel_grid: Literal["corners", "centres"] = "corners"
    size: int = 256

    def __post_init__(self) -> None:
        allowed = {"attention": (None, "released", "edge-query"), "pixel_grid": ("corners", "centres")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                words = ", ".join(map(repr, values))
                raise OptionError(f"{name}={getattr(self, name)!r}", f"one of {words}", "Check the spelling.")
        if self.attention and not self.edge:
            raise OptionError(f"attention={self.attention!r} without edges", "edge=True", "EIMHSA reads the edge map.")
        if not 0 <= self.still_px <= MAX_STILL_PX:
            raise OptionError(f"still_px={self.still_px!r}", f"a number of pixels from 0 to {MAX_STILL_PX:g}")
        levels = 2 ** max(self.keypoint.num_blocks, self.dense_motion.num_blocks)
        if self.size % 2**self.down_blocks or self.map_size % levels or self.map_size % self.strip_rows:
            raise ShapeError(
                f"pictures of {self.size} px", f"maps of a multiple of {levels} cells", "Use 128, 256 or 512."
            )

    @property
    def map_size(self) -> int:
        """Side of the maps that motion lives on (64 at 256 px)."""
        return int(self.size * self.scale_factor)

    @property
    def counts_from_rest(self) -> bool:
        """Whether the blend needs the occlusion of the target at rest."""
        return self.skip and self.relative_occlusion

    @property
    def residual_convolutions(self) -> tuple[str, ...]:
        """Names of the 3x3 convolutions that follow a ReLU in the generator's residual blocks."""
        blocks = range(self.residual_blocks)
        return tuple(f"generator.bottleneck.r{i}.{conv}" for i in blocks for conv in ("conv1", "conv2"))


_FOMM = NetworkConfig("fomm")

_FRONT = HourglassConfig(24, 5, 160)
_BASE = NetworkConfig(
    "base",
    num_kp=20,
    keypoint=_FRONT,
    dense_motion=_FRONT,
    keypoint_kernel=3,
    keypoint_padding=1,
    mask_kernel=3,
    generator_expansion=32,
    generator_max_features=128,
    residual_blocks=4,
    edge=True,
    attention="edge-query",
    attention_dim=32,
    skip=True,
    relative_occlusion=True,
    still_px=0.05,
    adapt_scale=True,
    pixel_grid="centres",
)

PRESETS: dict[str, NetworkConfig] = {
    "eamfmeg": NetworkConfig("eamfmeg", edge=True, attention="released", gain=2.0, adapt_scale=True),
    "fomm": _FOMM,
    "fmeg": replace(_FOMM, preset="fmeg"),
    "small": replace(_BASE, preset="small", generator_expansion=16, generator_max_features=64, attention_dim=16),
    "base": _BASE,
}


def preset(name: str) -> NetworkConfig:
    """The configuration called `name`.

    Raises:
        OptionError: no such preset.
    """
    if name not in PRESETS:
        raise OptionError(f"preset {name!r}", f"one of {', '.join(PRESETS)}", "Check the spelling.")
    return PRESETS[name]
