"""Whole clips of one person's micro-expression, with everything about the motion known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.lab.action_units import ACTION_UNITS, MuscleSet, intensity_vector, muscle_set
from eamfmeg_fast.lab.camera import draw_camera, shoot
from eamfmeg_fast.lab.edges import edge_map
from eamfmeg_fast.lab.envelope import Envelope, draw_envelope, minimum_jerk
from eamfmeg_fast.lab.framing import draw_framing
from eamfmeg_fast.lab.identity import Identity, draw_identity
from eamfmeg_fast.lab.motion import Expression, Motion, build_motion, landmarks_px, nose_turn, soften
from eamfmeg_fast.lab.pose import Pose
from eamfmeg_fast.lab.render import Rendered, Textures, displacement, paint, render, visible
from eamfmeg_fast.lab.seeds import Draw, generator, mix

Tensor = torch.Tensor
_CHUNK = 8


@dataclass(frozen=True)
class LabClip:
    """One clip of T frames.

    frames: uint8 [T, H, W, 3] RGB.
    displacement_px: float32 [T, H, W, 2]: frame t at p shows what frame 0 shows at p + displacement_px[t, p], px.
    valid: bool [T, H, W], where that holds.
    edges: float32 [T, 64, 64] in [0, 1], bright lines.
    landmarks_px: float32 [T, L, 2] in the order of LANDMARKS; 0 is the centre of the first pixel.
    intensity: float32 [T, A] in the order of ACTION_UNITS, mean of both sides.
    onset, apex, offset: frame numbers; the same with `_s` in seconds.
    """

    frames: Tensor
    displacement_px: Tensor
    valid: Tensor
    edges: Tensor
    landmarks_px: Tensor
    intensity: Tensor
    onset: int
    apex: int
    offset: int
    fps: Fraction
    identity: int

    @property
    def onset_s(self) -> float:
        """Time of the last neutral frame before the movement, seconds."""
        return float(self.onset / self.fps)

    @property
    def apex_s(self) -> float:
        """Time of the strongest frame, seconds."""
        return float(self.apex / self.fps)

    @property
    def offset_s(self) -> float:
        """Time of the first neutral frame after the movement, seconds."""
        return float(self.offset / self.fps)


def _peak(action_units: dict[int, float] | None, seed: int, symmetric: bool) -> Tensor:
    """Intensities at the apex, [A, 2] (left, right)."""
    draw = Draw([seed], 0xAC, "cpu", width=48)
    if action_units is None:
        count = int(1.0 + 3.0 * draw.unit())
        order = torch.cat([draw.unit() for _ in ACTION_UNITS], -1)[0, 0].argsort()
        action_units = {ACTION_UNITS[k]: float(draw.uniform(0.35, 1.0)) for k in order[:count].tolist()}
    peak = intensity_vector(action_units)[:, None].expand(-1, 2)
    uneven = float(draw.chance(0.25) * draw.uniform(-0.6, 0.6)) * (not symmetric)
    return peak * torch.tensor([1.0 - max(uneven, 0.0), 1.0 + min(uneven, 0.0)])


def _blinking(envelope: Envelope, strength: float, seed: int) -> Tensor:
    """Intensity of the lids' closing in every frame, [T]: one blink of a third of a second at a time of its own."""
    count = len(envelope.amount)
    half = min(0.16 * float(envelope.fps), 0.4 * (count - 1))
    middle = half + (count - 1 - 2.0 * half) * float(torch.rand(1, generator=generator(seed, 0xB1)))
    away = (torch.arange(count, dtype=torch.float32) - middle).abs()
    return strength * minimum_jerk(1.15 - away / half)


def _course(envelope: Envelope, peak: Tensor, blink: float, seed: int) -> Tensor:
    """Intensities of every frame, [T, A, 2]."""
    intensity = envelope.amount[:, None, None] * peak[None]
    if blink:
        lids = ACTION_UNITS.index(45)
        closing = _blinking(envelope, blink, seed)[:, None]
        intensity[:, lids] = torch.maximum(intensity[:, lids], closing)
    return intensity


def _turning(pose: Pose, amount: Tensor, turn: tuple[float, float]) -> Pose:
    """The pose with a turn in degrees of yaw and pitch that comes and goes with `amount`, [T]."""
    part = torch.deg2rad(amount)[:, None, None].to(pose.yaw)
    return replace(pose, yaw=pose.yaw + turn[0] * part, pitch=pose.pitch + turn[1] * part)


def _drifting(rest: Pose, count: int, fps: Fraction, seed: int, drift: float) -> Pose:
    """Slow smooth wandering of the head around `rest`, starting there: a few slow sines per coordinate."""
    device = rest.scale.device
    numbers = torch.rand(4, 3, 2, generator=generator(seed, 0xD1)).to(device)
    time = torch.arange(count, device=device, dtype=torch.float32) / float(fps)
    pace = 2.0 * torch.pi * (0.2 + 1.3 * numbers[..., :1])
    waves = torch.sin(pace * time + 2.0 * torch.pi * numbers[..., 1:]) - torch.sin(2.0 * torch.pi * numbers[..., 1:])
    sway = (waves.sum(1) * (drift / 3.0))[:, :, None, None]
    return Pose(
        scale=rest.scale * (1.0 + 0.003 * sway[0]), roll=rest.roll + 0.003 * sway[1],
        shift_x=rest.shift_x + 0.006 * sway[2], shift_y=rest.shift_y + 0.006 * sway[3],
        yaw=rest.yaw.expand(count, 1, 1), pitch=rest.pitch.expand(count, 1, 1),
    )  # fmt: skip


@dataclass(frozen=True)
class _Studio:
    """What stays the same through a clip."""

    identity: Identity
    muscles: MuscleSet
    textures: Textures
    neutral: Motion
    pose: Pose
    size: int
    seed: int
    noisy: bool

    def draw(self, intensity: Tensor, gaze: Tensor, first: int) -> tuple[Rendered, tuple[Tensor, ...]]:
        """Frames of some intensities and gazes from frame number `first` on."""
        pose = self.pose.rows(first, first + intensity.shape[0])
        motion = build_motion(self.muscles, Expression(intensity, *nose_turn(pose), gaze))
        drawn = render(self.identity, self.textures, motion, pose, self.size)
        way = displacement(self.identity, drawn, (self.neutral, self.pose.rows(0, 1)), pose)
        return drawn, (way, landmarks_px(self.identity, motion, pose, self.size))

    def shots(self, drawn: Rendered, first: int) -> Tensor:
        """Pictures of the drawn frames, uint8 [T, H, W, 3]."""
        colour = drawn.colour
        if self.noisy:
            camera = draw_camera([self.seed], 0xCA, self.identity.device)
            parts = [shoot(frame[None], camera, [mix(self.seed, first + k)], 0xCC) for k, frame in enumerate(colour)]
            colour = torch.cat(parts)
        return (colour.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)


def _film(studio: _Studio, intensity: Tensor, gaze: Tensor) -> tuple[Tensor, ...]:
    """All frames in chunks: frames, displacement, valid, edges, landmarks."""
    level, layers, rows = None, None, []
    for first in range(0, len(intensity), _CHUNK):
        last = first + _CHUNK
        drawn, (way, places) = studio.draw(intensity[first:last], gaze[first:last], first)
        if layers is None:
            layers = drawn.layers[:1]
            _, level = edge_map(drawn.colour[:1])
        seen = visible(layers, drawn.layers, way)
        rows.append((studio.shots(drawn, first), way, seen, edge_map(drawn.colour, level)[0], places))
    return tuple(torch.cat(column) for column in zip(*rows, strict=True))


def _check_extras(gaze: tuple[float, float], blink: float, turn: tuple[float, float]) -> None:
    for name, values, most in (("gaze", gaze, 0.1), ("turn", turn, 15.0)):
        if len(values) != 2 or not all(abs(value) <= most for value in values):
            raise OptionError(f"{name}={values}", f"two numbers within {most}", "Ask for less.")
    if not 0.0 <= blink <= 2.0:
        raise OptionError(f"blink={blink}", "0 to 2", "1 closes the eyes.")


def lab_clip(
    identity: int, *, action_units: dict[int, float] | None = None, size: int = 256, fps: int | Fraction = 200,
    seed: int = 0, duration_s: float | None = None, drift: float = 1.0, noisy: bool = True, symmetric: bool = False,
    gaze: tuple[float, float] = (0.0, 0.0), blink: float = 0.0, turn: tuple[float, float] = (0.0, 0.0),
    device: torch.device | str = "cpu",
) -> LabClip:  # fmt: skip
    """A clip of one micro-expression of one person who never lived.

    Args:
        identity: seed of the person, from TRAIN_SEEDS or HELD_OUT_SEEDS.
        action_units: FACS numbers and intensities at the apex (0 to 2, 1 is strong); None draws some, {} is neutral.
        size: pixels on a side.
        fps: frames per second, 25 to 1000.
        seed: number of the take: framing, timing, drift, camera.
        duration_s: onset to offset in seconds, 0.065 to 0.5; None draws it.
        drift: how much the head wanders; 0 holds it still, 1 is up to about 1.5 px at 256 px.
        noisy: with a camera (exposure, blur, noise), or as drawn.
        symmetric: both sides move alike.
        gaze: how far the eyeballs turn by the apex, (x, y) in head units; 0.05 to a side is a clear glance.
        blink: intensity of a blink at a time of its own; 1 closes the eyes. `intensity` shows it as action unit 45.
        turn: how far the head turns by the apex, yaw and pitch in degrees; positive to image right and down.
        device: where it runs.

    Raises:
        OptionError: an argument is out of range.
    """
    if identity < 0 or size < 16:
        raise OptionError(f"identity={identity}, size={size}", "identity >= 0 and size >= 16", "Change it.")
    _check_extras(gaze, blink, turn)
    take = mix(identity, seed, 0x7A)
    person = draw_identity([identity], device)
    muscles = muscle_set(person)
    envelope = draw_envelope(take, fps, duration_s)
    peak = _peak(action_units, take, symmetric)
    with torch.no_grad():
        rest = draw_framing(Draw([take], 0xF1, device))
        pose = _turning(_drifting(rest, len(envelope.amount), envelope.fps, take, drift), envelope.amount, turn)
        nose = nose_turn(pose.rows(0, 1))
        peak = soften(muscles, Expression(peak[None].to(device), *nose)).intensity[0].cpu()
        intensity = _course(envelope, peak, blink, take).to(device)
        look = (envelope.amount[:, None] * torch.tensor(gaze)).to(device)
        neutral = build_motion(muscles, Expression(intensity[:1], *nose, look[:1]))
        studio = _Studio(person, muscles, paint(person, rest, size), neutral, pose, size, take, noisy)
        frames, way, valid, edges, places = _film(studio, intensity, look)
    return LabClip(frames, way, valid, edges, places, intensity.mean(2), envelope.onset, envelope.apex, envelope.offset,
                   envelope.fps, identity)  # fmt: skip
