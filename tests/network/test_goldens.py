"""The network computes what the released ones compute: values taken from runs of EAM-FMEG and FOMM.

Both were run with weights that are a function of each parameter's name (`network/seeded.py`). `goldens.npz` holds
values of every intermediate at fixed places, `goldens.json` shapes, rms and the weights' checksums.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.engine import Engine
from eamfmeg_fast.network import build_network, fill_seeded
from eamfmeg_fast.network.operators import of_room, switch

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "goldens.json").read_text())
VALUES = np.load(HERE / "goldens.npz")
CASES = {
    "eamfmeg_relative": ("eamfmeg", {}, "relative", ("fp64", "fp32")),
    "eamfmeg_absolute": ("eamfmeg", {}, "absolute", ("fp64", "fp32")),
    "fomm_relative_64": ("fomm", {}, "relative", ("fp64",)),
    "fomm_absolute_64": ("fomm", {}, "absolute", ("fp64",)),
    "fomm_relative_32": ("fomm", {}, "relative", ("fp32",)),
    "fomm_absolute_32": ("fomm", {}, "absolute", ("fp32",)),
    "fomm_adapt_32": ("fomm", {"adapt_scale": True}, "relative", ("fp32",)),
    "fomm_corners_32": ("fomm", {"align_corners": True}, "relative", ("fp32",)),
}
TOLERANCE = {("eamfmeg", "fp64"): 1e-5, ("eamfmeg", "fp32"): 2e-4, ("fomm", "fp64"): 1e-6, ("fomm", "fp32"): 1e-4}
RUNS = [
    pytest.param(case, precision, room, marks=[pytest.mark.slow] if precision == "fp64" else [])
    for case, (*_, precisions) in CASES.items()
    for precision in precisions
    for room in (["reference", "cpu"] if precision == "fp32" else ["reference"])
]
ABSENT = {"cpu": {"attention"}}
"""What a fused room never holds."""


def load_pictures():
    import importlib.util

    spec = importlib.util.spec_from_file_location("golden_pictures", HERE / "golden_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.golden_pictures()


@cache
def pictures():
    return load_pictures()


@cache
def engine(preset: str, changes: tuple, precision: str, room: str) -> Engine:
    config = replace(PRESETS[preset], **dict(changes))
    made = Engine(fill_seeded(build_network(config)), precision=precision, device="cpu")
    if room != "reference":
        switch(made.network, of_room(room))
    return made


@cache
def trace(case: str, precision: str, room: str = "reference") -> dict[str, np.ndarray]:
    preset, changes, motion, _ = CASES[case]
    return engine(preset, tuple(changes.items()), precision, room).trace(*pictures(), motion=motion)


def test_pictures_are_the_goldens_own():
    for picture, crc in zip(pictures(), FACTS["pictures"].values(), strict=True):
        assert zlib.crc32(picture.tobytes()) == crc


def test_weights_are_the_goldens_own():
    network = fill_seeded(build_network("eamfmeg"))
    found = {name: zlib.crc32(tensor.numpy().tobytes()) for name, tensor in network.state_dict().items()}
    assert found == FACTS["weights"]


def test_another_salt_is_another_network():
    a, b = (fill_seeded(build_network("small"), salt).state_dict() for salt in ("", "pepper"))
    assert not torch.equal(a["generator.final.weight"], b["generator.final.weight"])


@pytest.mark.parametrize(("case", "precision", "room"), RUNS)
def test_every_stage_matches(case: str, precision: str, room: str):
    preset = CASES[case][0]
    stages = trace(case, precision, room)
    checked = 0
    for key, fact in FACTS["arrays"].items():
        if not key.startswith(f"{case}|"):
            continue
        name = key.split("|")[1].split("@")[0]
        if name in ABSENT.get(room, ()):
            continue
        got = stages[name]
        got = got[:, fact["take"]] if fact["take"] is not None else got
        got = (got[:, :: fact["step"]] if fact["step"] > 1 else got).astype(np.float64)
        assert list(got.shape) == fact["shape"], name
        want = VALUES[f"{key}|values"].astype(np.float64)
        limit = TOLERANCE[preset, precision]
        if fact["dtype"] == "float16":
            # Half precision was only the storage; a float32 run adds its own error to that rounding.
            limit = 2**-10 * np.abs(want) + (1e-6 if precision == "fp64" else limit)
        error = np.abs(got.ravel()[VALUES[f"{key}|at"]] - want)
        assert (error <= limit).all(), f"{name}: {error.max():.2e}"
        assert np.sqrt((got**2).mean()) == pytest.approx(
            fact["rms"], rel=2e-4 if fact["dtype"] == "float16" else 2e-5
        ), name
        checked += 1
    assert checked


def test_at_least_64_values_of_every_large_array():
    for key, fact in FACTS["arrays"].items():
        assert len(VALUES[f"{key}|values"]) >= min(64, int(np.prod(fact["shape"])))


def test_the_check_can_fail():
    stages = trace("fomm_relative_32", "fp32")
    key = "fomm_relative_32|flow"
    swapped = stages["flow"][..., ::-1].ravel()[VALUES[f"{key}|at"]]
    assert np.abs(swapped - VALUES[f"{key}|values"]).max() > 1e-2
