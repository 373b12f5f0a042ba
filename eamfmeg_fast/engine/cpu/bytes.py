"""A decoder whose residual blocks convolve bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from eamfmeg_fast.engine.cpu.decoder import Decoder, Residual
from eamfmeg_fast.engine.folding import affine_of_norm, folded
from eamfmeg_fast.engine.int8 import Int8Convolution
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.kernels.quantize.native import quantize_cpu
from eamfmeg_fast.network.layers import to_nchw


class ByteResidual(Residual):
    """A pre-activation residual block: bytes inside, float32 between the blocks."""

    def __init__(self, parameters: Parameters, name: str) -> None:
        steps = [_step(parameters, f"{name}.{conv}") for conv in ("conv1", "conv2")]
        scale, shift = affine_of_norm(parameters, f"{name}.norm1")
        self._scale, self._shift = (scale / steps[0]).float(), (shift / steps[0]).float()
        size, self._between = parameters.config.map_size, steps[1]
        self._first = Int8Convolution(*folded(parameters, f"{name}.conv1", f"{name}.norm2"), step=steps[0], size=size)
        self._second = Int8Convolution(*folded(parameters, f"{name}.conv2"), step=steps[1], size=size)

    def into(self, out: Tensor, hidden: Tensor, x: Tensor, tiles: Tensor | None = None, tile: int = 4) -> None:
        """Write `[B, h, w, C]` into `out`, which may be `x`; `hidden` is of the same shape, uint8.

        Raises:
            OptionError: there are tiles: whole maps are computed.
        """
        if tiles is not None:
            raise OptionError("tiles in int8", "None")
        quantize_cpu(hidden, x, self._scale, self._shift)
        if out is not x:
            out.copy_(x)
        self._second.add_to(to_nchw(out), self._first.to_bytes(to_nchw(hidden), self._between))


class ByteDecoder(Decoder):
    """`Decoder` with its residual blocks in int8; `products` are those of the layers behind them."""

    _hidden = torch.uint8

    def _block(self, parameters: Parameters, name: str, products: str) -> Residual:
        return ByteResidual(parameters, name)


def _step(parameters: Parameters, name: str) -> float:
    if parameters.scales is None or name not in parameters.scales:
        raise OptionError(
            "precision 'int8' with weights whose activations were never measured",
            "activation scales",
            "Run `eamfmeg calibrate WEIGHTS.safetensors` once.",
        )
    return parameters.scales[name]
