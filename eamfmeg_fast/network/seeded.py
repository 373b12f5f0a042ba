"""Deterministic weights for tests and benchmarks: every tensor is a function of its name and shape alone."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch

from eamfmeg_fast.network.model import Network

_NORM = {
    "weight": lambda n: 1 + 0.1 * n,
    "bias": lambda n: 0.1 * n,
    "running_mean": lambda n: 0.1 * n,
    "running_var": lambda n: 1 + 0.1 * np.abs(n),
}
_GAMMA = 0.4
_SCALE = {
    "mask": 2.0,
    "occlusion": 2.0,
    "query_conv": 2.5,
    "query_edge_conv": 2.5,
    "key_conv": 2.5,
    "key_edge_conv": 4.0,
    "value_conv": 0.5,
    "edge": 2.0,
    "final": 3.0,
    "kp": 1.0,
    "jacobian": 0.1,
}


def seeded_tensor(key: str, shape: tuple[int, ...], salt: str = "") -> np.ndarray:
    """The values of upstream key `key`: normal numbers from PCG64(crc32(salt + key)), scaled so that signals keep size.

    Args:
        key: without the part's name in front.
        shape: of the tensor.
        salt: another salt, another network.

    Returns:
        float32, or int64 zeros for counters. Antialias kernels are not drawn: pass on the module's own.
    """
    rng = np.random.Generator(np.random.PCG64(zlib.crc32((salt + key).encode())))
    n = rng.standard_normal(shape)
    *owners, leaf = key.split(".")
    owner = owners[-1] if owners else ""
    if leaf == "gamma":
        value = np.full(shape, _GAMMA)
    elif owner.startswith("norm"):
        value = _NORM[leaf](n)
    elif leaf == "weight":
        value = n * _weight_scale(key, owner, math.prod(shape[1:]))
    elif key == "jacobian.bias":
        value = np.tile([1.0, 0.0, 0.0, 1.0], shape[0] // 4) + 0.05 * n
    else:
        value = 0.05 * n
    return value.astype(np.float32)


def fill_seeded(network: Network, salt: str = "") -> Network:
    """Fill every parameter and buffer of `network` in place; returns it."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            key = name.split(".", 1)[1]
            if key.endswith("num_batches_tracked"):
                tensor.zero_()
            elif not (key == "down.weight" or key.endswith(".down.weight")):
                tensor.copy_(torch.from_numpy(seeded_tensor(key, tuple(tensor.shape), salt)))
    return network


def _weight_scale(key: str, owner: str, fan_in: int) -> float:
    if owner == "conv2" and key.startswith("bottleneck."):
        return 0.7 / math.sqrt(fan_in)
    return _SCALE[owner] / math.sqrt(fan_in) if owner in _SCALE else math.sqrt(2 / fan_in)
