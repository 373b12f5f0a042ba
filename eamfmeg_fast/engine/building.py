"""From a plan to the backend that it names, or to the next one that comes up."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from eamfmeg_fast.engine.backends import Backend, Plan
from eamfmeg_fast.engine.cpu import CpuBackend
from eamfmeg_fast.engine.cuda import CudaBackend
from eamfmeg_fast.engine.parameters import Parameters
from eamfmeg_fast.engine.reference import ReferenceBackend


def build(parameters: Parameters, plan: Plan) -> tuple[Backend, Plan]:
    """The backend, and the plan as it then is: a CUDA backend that fails is warned of, and the reference runs."""
    if plan.backend == "cuda":
        try:
            with torch.inference_mode():
                return CudaBackend(parameters, plan), plan
        except Exception as error:  # whatever a driver or a kernel's compiler raises, the reference may still run
            why = f"backend 'cuda' failed with {type(error).__name__}: {str(error)[:300]}"
            warnings.warn(f"the reference network runs instead: {why}", RuntimeWarning, stacklevel=3)
            reason = f"the reference network on {plan.device}, since {why}; everything in fp32"
            plan = replace(plan, backend="reference", decoder="fp32", reason=reason)
    if plan.backend == "reference":
        return ReferenceBackend(parameters.network(), plan.device, plan.dtype), plan
    with torch.inference_mode():
        return CpuBackend(parameters, plan), plan
