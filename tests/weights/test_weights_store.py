"""Saving and loading: the same numbers back, the same bytes again, half precision, shipped names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import DtypeError, WeightsError
from eamfmeg_fast.network import Network, build_network
from eamfmeg_fast.weights import load_network, pretrained_names, save_network, shapes, store

DERIVED = (".num_batches_tracked", ".down.weight")


def test_every_number_comes_back(network: Network, good_file: Path) -> None:
    loaded, info = load_network(good_file)
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert not loaded.training and info.preset == "small" and info.dtype == "F32"
    assert info.card == {"licence": "test", "seed": 0}
    assert info.params == sum(tensor.numel() for tensor in network.parameters())


def test_a_loaded_network_saves_to_the_same_bytes(good_file: Path, tmp_path: Path) -> None:
    loaded, info = load_network(good_file)
    again = save_network(loaded, tmp_path / "again.safetensors", card=info.card)
    assert again.sha256 == info.sha256 and again.content_sha256 == info.content_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["again.safetensors"]


def test_the_library_reads_the_file_and_finds_no_derived_tensor(network: Network, good_file: Path) -> None:
    tensors = load_file(good_file)
    assert not any(name.endswith(DERIVED) for name in tensors)
    assert set(tensors) == {name for name in network.state_dict() if not name.endswith(DERIVED)}
    name = "generator.final.weight"
    assert torch.equal(tensors[name], network.state_dict()[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_matrices_only(network: Network, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "half.safetensors"
    info = save_network(network, path, dtype=dtype)
    loaded, _ = load_network(path)
    for name, tensor in network.state_dict().items():
        if name.endswith(DERIVED):
            continue
        kept = tensor.to(dtype).float() if tensor.dim() > 1 else tensor
        assert torch.equal(loaded.state_dict()[name], kept), name
    assert info.dtype == {torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    assert path.stat().st_size < 0.55 * 4 * info.params


def test_float64_network(network: Network, good_file: Path) -> None:
    loaded, _ = load_network(good_file, dtype=torch.float64)
    assert all(tensor.dtype == torch.float64 for tensor in loaded.parameters())
    name = "generator.final.weight"
    assert torch.equal(loaded.state_dict()[name], network.state_dict()[name].double())


def test_a_file_with_counters_and_kernels_loads(network: Network, good_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    state = network.state_dict()
    digest = store.ContentDigest()
    for name in sorted(state):
        digest.update(name, state[name])
    metadata = store.make_metadata("small", {}, None) | {"sha256": digest.hexdigest()}
    save_file(state, path, metadata=metadata)
    loaded, _ = load_network(path)
    assert torch.equal(loaded.state_dict()["kp_detector.down.weight"], state["kp_detector.down.weight"])


def test_shipped_names(good_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PRETRAINED", tmp_path)
    shutil.copy(good_file, tmp_path / "small.safetensors")
    assert pretrained_names() == ("small",)
    _, info = load_network("small")
    assert info.path == tmp_path / "small.safetensors"
    (tmp_path / "SHA256SUMS").write_text(f"{info.sha256}  small.safetensors\n")
    load_network("small")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  small.safetensors\n")
    with pytest.raises(WeightsError, match="SHA256SUMS"):
        load_network("small")
    with pytest.raises(WeightsError, match=r"no weights called samll.*\(small\)"):
        load_network("samll")


def test_saving_refuses_what_loading_would(network: Network, tmp_path: Path) -> None:
    broken = build_network("small")
    broken.load_state_dict(network.state_dict())
    path = tmp_path / "x.safetensors"
    with torch.no_grad():
        broken.generator.final.weight[0, 0, 0, 0] = 1e6
    save_network(broken, path)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match=r"generator\.final\.weight holds infinite"):
        save_network(broken, path, dtype=torch.float16)
    with torch.no_grad():
        broken.generator.final.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(WeightsError, match=r"generator\.final\.weight holds NaN"):
        save_network(broken, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_arguments(network: Network, good_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DtypeError):
        save_network(network, tmp_path / "x.safetensors", dtype=torch.float64)
    with pytest.raises(DtypeError):
        load_network(good_file, dtype=torch.int8)
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        save_network(network, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="model card"):
        save_network(network, tmp_path / "x.safetensors", card={"seed": object()})
    with pytest.raises(WeightsError, match="cannot write"):
        save_network(network, tmp_path / "no" / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_published_sizes() -> None:
    expected = shapes.expected_shapes("eamfmeg")
    sizes = {part: [0, 0] for part in shapes.PARTS}
    for name, shape in expected.items():
        part, learned = name.split(".", 1)[0], not shapes.is_regenerated(name) and "running_" not in name
        sizes[part][0] += 1
        sizes[part][1] += learned * torch.Size(shape).numel()
    assert sizes == {
        "generator": [196, 45_575_391],
        "kp_detector": [75, 14_215_368],
        "edge_predictor": [2, 316],
        "attention_module": [9, 82_305],
    }


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "fmeg"])
def test_presets_are_told_apart_by_their_shapes(preset: str) -> None:
    assert shapes.guess_preset(shapes.expected_shapes(preset)) == preset


def test_blank_networks_skip_the_random_numbers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    blank = shapes.blank_network("small")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(blank.kp_detector.down.weight, build_network("small").kp_detector.down.weight)
