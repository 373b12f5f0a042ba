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
from eamfmeg_fast.errors import BackendWarning, EamfmegError

_PLAIN = {"sparse": "exact"}


def build(parameters: Parameters, plan: Plan) -> tuple[Backend, Plan]:
    """The backend, and the plan as it then is: a fast backend that fails is warned of, and the reference runs."""
    fast = {"cpu": CpuBackend, "cuda": CudaBackend}.get(plan.backend)
    if fast is not None:
        try:
            with torch.inference_mode():
                return fast(parameters, plan), plan
        except EamfmegError:
            raise
        except Exception as error:  # whatever a driver or a library raises, the reference may still run
            plan = _instead(plan, error)
    return ReferenceBackend(parameters.network(), plan.device, plan.dtype), plan


def _instead(plan: Plan, error: Exception) -> Plan:
    why = f"backend {plan.backend!r} failed with {type(error).__name__}: {str(error)[:300]}"
    warnings.warn(f"the reference network runs instead: {why}", BackendWarning, stacklevel=4)
    reason = f"the reference network on {plan.device}, since {why}; everything in fp32"
    return replace(
        plan, backend="reference", decoder="fp32", update=_PLAIN.get(plan.update, plan.update), reason=reason
    )
