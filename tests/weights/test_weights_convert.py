"""Published checkpoints become weights files: both formats of torch.save, DataParallel, raw safetensors."""

from __future__ import annotations

import collections
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from eamfmeg_fast.errors import DtypeError, OptionError, WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights import convert, inspect, load_network
from eamfmeg_fast.weights.checkpoint import canonical_names
from eamfmeg_fast.weights.shapes import expected_shapes, guess_preset

Parts = dict[str, dict[str, torch.Tensor]]


def test_published_layout(network: Network, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    report = convert(checkpoint, out, card={"licence": "as published"})
    loaded, info = load_network(out)
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    original = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert info.created_from == report.created_from == original
    assert info.card == {"converted_from": "published.pth.tar", "epoch": 7, "licence": "as published"}
    assert report.left_out == ("discriminator (1)", "optimizer_generator (2)") and report.epoch == 7
    assert report.usable and report.preset == "small"
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors"]


def test_old_format_with_module_prefix_and_float64(parts: Parts, network: Network, tmp_path: Path) -> None:
    doubled = {
        part: {f"module.{key}": value.double() if value.is_floating_point() else value for key, value in state.items()}
        for part, state in parts.items()
    }
    torch.save(doubled, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pth.tar", tmp_path / "out.safetensors", dtype=torch.float16)
    loaded, info = load_network(tmp_path / "out.safetensors")
    name = "generator.final.weight"
    assert info.dtype == "F16"
    assert torch.equal(loaded.state_dict()[name], network.state_dict()[name].half().float())


def test_listing_a_checkpoint(parts: Parts, tmp_path: Path) -> None:
    spoiled = parts | {"kp_detector": parts["kp_detector"] | {"kp.bias": parts["kp_detector"]["kp.bias"] * torch.nan}}
    torch.save(spoiled | {"epoch": 7}, tmp_path / "nan.pth")
    report = inspect(tmp_path / "nan.pth")
    assert report.kind == "checkpoint" and not report.usable and not report.convertible
    assert report.problems == ("tensor kp_detector.kp.bias holds NaN or infinite values",)
    assert [part.name for part in report.parts] == ["generator", "kp_detector", "edge_predictor", "attention_module"]
    assert [part.tensors for part in report.parts] == [len(parts[part.name]) for part in report.parts]
    assert report.preset == "small" and report.epoch == 7


def _flat(parts: Parts, prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{part}.{prefix}{key}": value.clone() for part, state in parts.items() for key, value in state.items()}


def test_raw_safetensors(parts: Parts, network: Network, tmp_path: Path) -> None:
    raw = tmp_path / "raw.safetensors"
    save_file(_flat(parts, "module.") | {"discriminator.x": torch.zeros(1)}, raw)
    assert inspect(raw).convertible
    report = convert(raw, tmp_path / "out.safetensors", preset="small")
    assert report.left_out == ("discriminator",)
    loaded, _ = load_network(tmp_path / "out.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), network.state_dict().values()))


def _without(name: str) -> Any:
    return lambda flat: flat.pop(name) is None


def _set(name: str, value: Any) -> Any:
    return lambda flat: flat.update({name: value(flat[name]) if callable(value) else value})


def _nan(tensor: torch.Tensor) -> torch.Tensor:
    tensor.view(-1)[-1] = torch.nan
    return tensor


WRONG = {
    "missing": (_without("generator.final.weight"), "generator.final.weight is missing; expected shape"),
    "shape": (_set("kp_detector.kp.bias", torch.zeros(11)), r"kp_detector.kp.bias has shape \[11\]; expected shape"),
    "extra": (lambda flat: flat.update({"generator.x": torch.zeros(1)}), "no such tensor in preset small"),
    "NaN": (_set("generator.final.weight", _nan), "generator.final.weight holds NaN"),
    "float32 overflow": (_set("generator.final.bias", lambda t: t.double() + 1e300), "holds infinite values"),
    "variance": (_set("generator.first.norm.running_var", lambda t: -t), "negative variance"),
    "integers": (_set("generator.final.bias", lambda t: t.long()), "final.bias is I64"),
    "float counter": (_set("generator.first.norm.num_batches_tracked", torch.zeros(())), "is F32; expected I64"),
    "kernel": (_set("kp_detector.down.weight", lambda t: t * 1.1), "off the antialias kernel"),
    "two names": (lambda flat: flat.update({"generator.module.final.bias": torch.zeros(3)}), "are one tensor"),
    "no parts": (lambda flat: [flat.pop(name) for name in list(flat)] and flat.update(x=torch.zeros(1)), "is missing"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_tensors_are_named(kind: str, parts: Parts, tmp_path: Path) -> None:
    change, words = WRONG[kind]
    flat = _flat(parts)
    change(flat)
    save_file(flat, tmp_path / "raw.safetensors")
    with pytest.raises(WeightsError, match=words) as caught:
        convert(tmp_path / "raw.safetensors", tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["raw.safetensors"]
    if kind != "two names":
        report = inspect(tmp_path / "raw.safetensors")
        assert report.problems or kind == "float32 overflow"


def test_arguments(good_file: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(OptionError):
        convert(checkpoint, out, preset="smal")
    with pytest.raises(DtypeError):
        convert(checkpoint, out, dtype=torch.float64)
    with pytest.raises(WeightsError, match="ends in .safetensors"):
        convert(checkpoint, tmp_path / "out.pth")
    with pytest.raises(WeightsError, match="no folder"):
        convert(checkpoint, tmp_path / "no" / "out.safetensors")
    with pytest.raises(WeightsError, match="a weights file already"):
        convert(good_file, out)
    out.write_text("keep me")
    with pytest.raises(WeightsError, match="exists"):
        convert(checkpoint, out)
    assert out.read_text() == "keep me"
    with pytest.raises(WeightsError, match="exists"):
        convert(good_file, good_file, overwrite=True)


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": collections.Counter()}, "raw.pth")
    with pytest.raises(WeightsError, match="asks for collections.Counter while loading; expected tensors only"):
        convert("raw.pth", "out.safetensors")
    assert os.listdir() == ["raw.pth"]


def test_presets_without_edges_and_attention(tmp_path: Path) -> None:
    shapes = expected_shapes("fomm")
    names, left_out = canonical_names(tmp_path, [f"module.{name}" for name in shapes] + ["epoch"])
    assert names == {name: f"module.{name}" for name in shapes} and left_out == ("epoch",)
    assert guess_preset(shapes) == "fomm"
    detector = {name: shape for name, shape in shapes.items() if name.startswith("kp_detector.")}
    assert detector["kp_detector.jacobian.weight"] == (40, 35, 7, 7)
    assert detector["kp_detector.down.weight"] == (3, 1, 13, 13)


def test_inspect_reports_what_load_refuses(mutated: Any, good_file: Path) -> None:
    def spoil(fields: dict[str, Any], data: bytearray) -> None:
        begin = fields["generator.first.conv.weight"]["data_offsets"][0]
        data[begin : begin + 4] = b"\xff\xff\xff\xff"
        fields["generator.final.weight"]["shape"].reverse()

    report = inspect(mutated(spoil))
    assert not report.usable and report.stated and report.mismatch is not None
    assert report.mismatch.name == "generator.final.weight"
    text = "\n".join(report.problems)
    assert "generator.first.conv.weight holds NaN" in text and "sha256" in text and "final.weight has shape" in text
    plain = report.to_dict()
    assert plain["usable"] is False and plain["mismatch"]["found"] != plain["mismatch"]["expected"]
    assert all("\n" not in line for line in report.lines())
    good = inspect(good_file)
    assert good.usable and good.card["licence"] == "test" and good.to_dict()["parts"][0]["name"] == "generator"
    assert "ready to load" in good.lines() and load_file(good_file)
