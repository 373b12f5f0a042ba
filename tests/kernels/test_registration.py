"""What every operator gets from its registration."""

from __future__ import annotations

import pytest
import torch

from eamfmeg_fast.errors import InputError
from eamfmeg_fast.kernels.registration import _on_one_device


def test_tensors_of_two_devices_are_refused() -> None:
    run = _on_one_device(lambda *args: args[0])
    x, y = torch.ones(2), torch.ones(2, device="meta")
    assert run(x, None, 3, x) is x
    with pytest.raises(InputError, match="cpu and meta"):
        run(x, y)
