"""Files and checkpoints of the smallest preset, made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from eamfmeg_fast.network import Network, build_network, fill_seeded
from eamfmeg_fast.weights import save_network

Fields = dict[str, Any]
Mutate = Callable[[Fields, bytearray], bytearray | None]


@pytest.fixture(scope="session")
def network() -> Network:
    return fill_seeded(build_network("small"))


@pytest.fixture(scope="session")
def good_file(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    save_network(network, path, card={"licence": "test", "seed": 0})
    return path


@pytest.fixture(scope="session")
def parts(network: Network) -> dict[str, dict[str, Tensor]]:
    """The published layout without the parts that are left out."""
    out: dict[str, dict[str, Tensor]] = {}
    for name, tensor in network.state_dict().items():
        part, key = name.split(".", 1)
        out.setdefault(part, {})[key] = tensor
    return out


@pytest.fixture(scope="session")
def checkpoint(parts: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published layout, all of it, as torch.save writes it."""
    path = tmp_path_factory.mktemp("checkpoint") / "published.pth.tar"
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    extra = {"discriminator": {"conv.weight": torch.zeros(2)}, "optimizer_generator": optimizer, "epoch": 7}
    torch.save(parts | extra, path)
    return path


@pytest.fixture
def mutated(good_file: Path, tmp_path: Path) -> Callable[[Mutate], Path]:
    """Writes the good file with its header fields and its data changed."""

    def make(change: Mutate) -> Path:
        raw = good_file.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        fields, data = json.loads(raw[8 : 8 + length]), bytearray(raw[8 + length :])
        data = change(fields, data) or data
        header = json.dumps(fields).encode()
        path = tmp_path / "mutated.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
        return path

    return make
