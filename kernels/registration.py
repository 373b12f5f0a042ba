"""Makes an operator known to PyTorch: one dispatch over its rooms, a fake, and the reference's gradient."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from eamfmeg_fast.errors import InputError
from eamfmeg_fast.kernels.compiled import why_missing
from eamfmeg_fast.kernels.registry import Op, Result, Room, as_tuple

_library = torch.library.Library("eamfmeg", "FRAGMENT")


def operator(
    schema: str,
    *,
    public: Callable[..., Result],
    reference: Callable[..., Result],
    fake: Callable[..., Result],
    takes: Callable[..., bool],
    cases: ModuleType,
    cpu: Callable[..., None],
    cuda: Callable[..., None] | None = None,
    gpu_takes: Callable[..., bool] | None = None,
    unrounded: Callable[..., Result] | None = None,
    triton: bool = True,
) -> Op:
    """Define `eamfmeg::<schema>` and make the operator's record.

    On each device the first room that is there and takes the arguments runs; where there is none, the reference. The
    gradient is that of the reference, recomputed from the inputs. `Library.impl` costs half of what
    `torch.library.custom_op` does on each call.

    Args:
        schema: without default values: PyTorch would drop arguments that equal them.
        public, reference, fake, unrounded: as in `registry.Op`.
        takes: as in `registry.Room`, for all rooms; gpu_takes: instead of it, for those on a GPU.
        cases: the module samples.py: MUTANTS, samples, refusals, sized and network.
        cpu, cuda: the rooms of csrc/, from native.py. Triton's is found by its name.
        triton: whether there is one; without any room on a GPU the reference runs there.
    """
    name = schema.split("(")[0]
    rooms = {"cpu": Room("cpu", lambda: why_missing("_C"), cpu, cases.MUTANTS, takes)}
    if cuda is not None:
        rooms["cuda"] = Room("cuda", _cuda_missing, cuda, cases.MUTANTS, gpu_takes or takes)
    if triton:
        rooms["triton"] = Room("triton", _triton_missing, _triton_launcher(name), cases.MUTANTS, gpu_takes or takes)
    _library.define(schema)
    _library.impl(name, _dispatch(reference, fake, [rooms["cpu"]]), "CPU")
    on_cuda = [rooms[room] for room in ("triton", "cuda") if room in rooms]
    _library.impl(name, _on_one_device(_dispatch(reference, fake, on_cuda)), "CUDA")
    torch.library.register_fake(f"eamfmeg::{name}", fake, lib=_library)
    torch.library.register_autograd(
        f"eamfmeg::{name}", functools.partial(_backward, reference), setup_context=_save_inputs, lib=_library
    )
    return Op(
        name=name,
        public=public,
        reference=reference,
        fake=fake,
        overload=lambda: getattr(torch.ops.eamfmeg, name).default,
        samples=cases.samples,
        refusals=cases.refusals,
        sized=cases.sized,
        network=cases.network,
        rooms=rooms,
        unrounded=unrounded,
    )


def _triton_launcher(op: str) -> Callable[..., None]:
    """`<op>_triton(out, *args, mutant=0)` of kernels/<op>/triton_kernel.py.

    It is imported on first use: a machine without Triton still has the other rooms.
    """
    name = f"eamfmeg_fast.kernels.{op}.triton_kernel"

    def into(out: Result, *args: Any, mutant: int = 0) -> None:
        getattr(importlib.import_module(name), f"{op}_triton")(out, *args, mutant=mutant)

    return into


@functools.cache
def _cuda_missing() -> str:
    return why_missing("_cuda") or ("" if torch.cuda.is_available() else "no CUDA device")


@functools.cache
def _triton_missing() -> str:
    try:
        return importlib.import_module("eamfmeg_fast.kernels.triton_build").why_not_running()
    except ImportError as error:
        return f"triton does not import: {error}"


def _dispatch(
    reference: Callable[..., Result], fake: Callable[..., Result], rooms: Sequence[Room]
) -> Callable[..., Result]:
    def run(*args: Any) -> Result:
        for room in rooms:
            if not room.missing() and room.takes(*args):
                out = fake(*args)
                room.into(out, *args)
                return out
        results = tuple(_fresh(x, args) for x in as_tuple(_in_own_types(reference, args)))
        return results if len(results) > 1 else results[0]

    return run


def _on_one_device(run: Callable[..., Result]) -> Callable[..., Result]:
    # A room would read the address of the other device's memory. Among CPU tensors there is no other.
    @functools.wraps(run)
    def checked(*args: Any) -> Result:
        devices = {str(arg.device) for arg in args if isinstance(arg, Tensor)}
        if len(devices) > 1:
            raise InputError(f"tensors on {' and '.join(sorted(devices))}", "one device", "Move them with .to(...).")
        return run(*args)

    return checked


def _in_own_types(reference: Callable[..., Result], args: Sequence[Any]) -> Result:
    # Under somebody's autocast the reference would compute a flow in 16 bits.
    kinds = [arg.device.type for arg in args if isinstance(arg, Tensor)]
    with torch.autocast(kinds[0], enabled=False):
        return reference(*args)


def _fresh(result: Tensor, args: tuple[Any, ...]) -> Tensor:
    # An operator must never hand back its own input's memory.
    result = result.contiguous()
    shared = any(isinstance(arg, Tensor) and arg.data_ptr() == result.data_ptr() for arg in args)
    return result.clone() if shared and result.numel() else result


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Result) -> None:
    ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
    ctx.others = [None if isinstance(value, Tensor) else (value,) for value in inputs]


def _backward(reference: Callable[..., Result], ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    saved = iter(ctx.saved_tensors)
    args: list[Any] = [next(saved) if other is None else other[0] for other in ctx.others]
    wanted = [i for i, needed in enumerate(ctx.needs_input_grad) if needed]
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        for i in wanted:
            # For a second derivative the inputs must stay tied to what they came from.
            args[i] = args[i] if again else args[i].detach().requires_grad_()
        results = as_tuple(_in_own_types(reference, args))
        pairs = [(y, g) for y, g in zip(results, grads) if g is not None and y.requires_grad]
        found = torch.autograd.grad(
            [y for y, _ in pairs],
            [args[i] for i in wanted],
            [g for _, g in pairs],
            allow_unused=True,
            create_graph=again,
        )
    result: list[Tensor | None] = [None] * len(args)
    for i, grad in zip(wanted, found, strict=True):
        result[i] = grad
    return tuple(result)
