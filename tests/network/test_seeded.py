"""Seeded weights: a function of name and shape alone, and signals that stay alive through the network."""

from __future__ import annotations

import numpy as np
import torch

from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.network.seeded import seeded_tensor


def test_a_tensor_depends_on_its_name_its_shape_and_the_salt() -> None:
    a = seeded_tensor("first.conv.weight", (4, 3, 7, 7))
    assert a.dtype == np.float32 and np.array_equal(a, seeded_tensor("first.conv.weight", (4, 3, 7, 7)))
    assert not np.array_equal(a, seeded_tensor("final.conv.weight", (4, 3, 7, 7)))
    assert not np.array_equal(a, seeded_tensor("first.conv.weight", (4, 3, 7, 7), "salt"))


def test_filling_does_not_depend_on_what_was_drawn_before() -> None:
    torch.manual_seed(1)
    a = fill_seeded(build_network("small")).state_dict()
    torch.manual_seed(2)
    b = fill_seeded(build_network("small")).state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_no_quirk_is_hidden_by_the_weights() -> None:
    """Attention is on, running statistics are not those of a new network, Jacobians are not all the identity."""
    state = fill_seeded(build_network("small")).state_dict()
    assert state["attention_module.gamma"].item() != 0
    assert state["generator.first.norm.running_var"].std() > 0.01
    assert state["generator.first.norm.running_mean"].abs().max() > 0.01
    assert state["kp_detector.jacobian.weight"].abs().max() > 0
    assert (state["generator.first.norm.running_var"] > 0).all()


def test_antialias_kernels_stay_the_module_s_own() -> None:
    built, filled = build_network("small"), fill_seeded(build_network("small"), "salt")
    for key in ("kp_detector.down.weight", "generator.dense_motion_network.down.weight"):
        assert torch.equal(built.state_dict()[key], filled.state_dict()[key])


def test_the_picture_decides_what_comes_out() -> None:
    net = fill_seeded(build_network("small"))
    rng = np.random.default_rng(0)
    low = torch.from_numpy(rng.uniform(0, 1, (2, 3, 16, 16))).float()
    pictures = torch.nn.functional.interpolate(low, size=(256, 256), mode="bilinear")
    with torch.inference_mode():
        kp = net.kp_detector(pictures).keypoints.kp
    assert (kp[0] - kp[1]).abs().max() > 0.02 and kp.abs().max() <= 1
    assert kp[0].std(0).min() > 0.02
