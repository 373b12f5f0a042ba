"""What the presets are made of: parameters, names, sizes, and the price of a frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eamfmeg_fast.config import PRESETS, HourglassConfig, preset
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.network import Keypoints, Network, build_network, fill_seeded

PARTS = {
    "generator": (196, 45_575_391),
    "kp_detector": (75, 14_215_368),
    "edge_predictor": (2, 316),
    "attention_module": (9, 82_305),
}
UPSTREAM_SHAPES = {
    "generator.dense_motion_network.hourglass.encoder.down_blocks.0.conv.weight": (128, 44, 3, 3),
    "generator.dense_motion_network.hourglass.decoder.up_blocks.4.conv.weight": (64, 256, 3, 3),
    "generator.dense_motion_network.mask.weight": (11, 108, 7, 7),
    "generator.dense_motion_network.occlusion.weight": (1, 108, 7, 7),
    "generator.dense_motion_network.down.weight": (3, 1, 13, 13),
    "generator.first.conv.weight": (64, 3, 7, 7),
    "generator.down_blocks.1.norm.running_var": (256,),
    "generator.bottleneck.r5.conv2.weight": (256, 256, 3, 3),
    "generator.up_blocks.1.norm.num_batches_tracked": (),
    "generator.final.weight": (3, 64, 7, 7),
    "kp_detector.predictor.encoder.down_blocks.4.conv.weight": (1024, 512, 3, 3),
    "kp_detector.kp.weight": (10, 35, 7, 7),
    "kp_detector.jacobian.bias": (40,),
    "kp_detector.down.weight": (3, 1, 13, 13),
    "edge_predictor.edge.weight": (1, 35, 3, 3),
    "attention_module.gamma": (1,),
    "attention_module.query_conv.weight": (32, 256, 1, 1),
    "attention_module.key_edge_conv.weight": (32, 1, 1, 1),
    "attention_module.value_conv.bias": (256,),
}
EDGE_QUERY = {f"{name}.{leaf}" for name in ("query_edge_conv", "key_conv", "value_conv") for leaf in ("weight", "bias")}


@cache
def network(name: str) -> Network:
    # Shapes need no memory.
    with torch.device("meta"):
        return build_network(name)


@cache
def small() -> Network:
    return fill_seeded(build_network("small"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name: str) -> None:
    built = network(name)
    assert built.config.preset == name and not built.training
    assert (built.edge_predictor is not None) is built.config.edge
    assert (built.attention_module is not None) is (built.config.attention is not None)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(OptionError, match="'smal'.*small"):
        preset("smal")


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_as_large_as_upstream(part: str) -> None:
    module = network("eamfmeg").get_submodule(part)
    tensors, parameters = PARTS[part]
    assert len(module.state_dict()) == tensors
    assert sum(p.numel() for p in module.parameters()) == parameters


def test_keys_are_upstream_names_with_the_part_in_front() -> None:
    state = network("eamfmeg").state_dict()
    assert len(state) == 196 + 75 + 2 + 9
    assert {key: tuple(state[key].shape) for key in UPSTREAM_SHAPES} == UPSTREAM_SHAPES
    assert {key.split(".")[0] for key in state} == set(PARTS)


@pytest.mark.parametrize("name", ["fomm", "fmeg"])
def test_fomm_is_eamfmeg_without_edge_and_attention(name: str) -> None:
    kept = ("generator.", "kp_detector.")
    want = {key: t.shape for key, t in network("eamfmeg").state_dict().items() if key.startswith(kept)}
    assert {key: t.shape for key, t in network(name).state_dict().items()} == want


def test_edge_query_has_a_query_from_the_edge_and_no_other() -> None:
    attention = network("small").attention_module
    assert attention is not None and set(attention.state_dict()) == EDGE_QUERY | {"gamma"}
    assert attention.query_edge_conv.in_channels == 1


def test_released_defaults_of_eamfmeg() -> None:
    """The authors' demo always scales by the hull and then doubles it; the published networks without edges do not."""
    config = PRESETS["eamfmeg"]
    assert (config.gain, config.adapt_scale, config.attention, config.strip_rows) == (2.0, True, "released", 4)
    assert not config.align_corners and config.pixel_grid == "corners" and not config.skip
    assert all((PRESETS[n].gain, PRESETS[n].adapt_scale) == (1.0, False) for n in ("fomm", "fmeg"))


def test_a_new_detector_starts_with_the_identity_as_jacobian() -> None:
    built = build_network("small")
    jacobian = built.kp_detector(torch.rand(1, 3, 256, 256)).keypoints.jacobian
    assert torch.allclose(jacobian, torch.eye(2).expand(1, PRESETS["small"].num_kp, 2, 2), atol=1e-5)


def test_small_fits_into_eight_megabytes() -> None:
    values = sum(t.numel() for t in network("small").state_dict().values())
    assert 1e6 < 2 * values <= 8e6


def giga_macs(run: Callable[[], object]) -> tuple[float, float]:
    """Multiplications and additions in 10^9: as written, and with each upsampling convolution as four of 2x2."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        run()
    ups = [
        sum(flops.values())
        for module, flops in counter.get_flop_counts().items()
        if re.search(r"(up_blocks\.\d+|^UpBlock2d)$", module)
    ]
    assert ups
    return counter.get_total_flops() / 2e9, (counter.get_total_flops() - 5 / 9 * sum(ups)) / 2e9


def test_price_of_a_frame_of_small() -> None:
    """Of what is computed for every driving frame; the target's own encoding is not in it."""
    net, picture = small(), torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        found = net.kp_detector(picture)
        thumbnail, features = net.kp_detector.down(picture), net.generator.encode(picture)
        edges, points = net.edges(found.features), found.keypoints
        motion = net.motion(thumbnail, points, points)
    front, front_phases = giga_macs(lambda: net.motion(thumbnail, net.kp_detector(picture).keypoints, points))
    back, back_phases = giga_macs(lambda: net.render(picture, features, edges, motion))
    assert 0.1 < front_phases <= 0.8 and front <= 1.1
    assert 0.5 < back_phases and front_phases + back_phases <= 2.6 and front + back <= 3.2


@pytest.mark.parametrize("name", ["eamfmeg", "small"])
def test_shapes_of_a_frame(name: str) -> None:
    config = replace(
        PRESETS[name], keypoint=HourglassConfig(4, 2, 8), dense_motion=HourglassConfig(4, 2, 8), generator_expansion=4,
        residual_blocks=2, num_kp=3, size=64,
    )  # fmt: skip
    net, picture = fill_seeded(build_network(config)), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        found = net.kp_detector(picture)
        motion = net.motion(net.kp_detector.down(picture), found.keypoints, Keypoints(*found.keypoints))
        edges = net.edges(found.features)
        drawn = net.render(picture, net.generator.encode(picture), edges, motion)
    map_side = 10 if name == "eamfmeg" else 16
    assert found.logits.shape == (2, 3, map_side, map_side) and found.features.shape == (2, 7, 16, 16)
    assert found.keypoints.kp.shape == (2, 3, 2) and found.keypoints.jacobian.shape == (2, 3, 2, 2)
    assert motion.flow.shape == (2, 16, 16, 2) and motion.occlusion.shape == (2, 1, 16, 16)
    assert motion.mask.shape == (2, 4, 16, 16) and motion.inputs.shape == (2, 16, 16, 16)
    assert torch.allclose(motion.mask.sum(1), torch.ones(2, 16, 16))
    assert edges.shape == (2, 16, 16) and drawn.edge_warped.shape == (2, 1, 16, 16)
    assert drawn.attention.shape == (2, 4, 64, 64) and drawn.prediction.shape == picture.shape
    assert drawn.deformed.shape == picture.shape
    assert [tuple(stage.shape) for stage in drawn.up] == [(2, 8, 32, 32), (2, 4, 64, 64)]
    assert 0 <= drawn.prediction.min() and drawn.prediction.max() <= 1
