"""What works on this machine, what does not, what that costs and what to do about it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eamfmeg_fast.kernels.compiled import is_stale, library, why_missing

Status = Literal["ok", "missing", "optional"]

_PACKAGE = Path(__file__).parent
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
_EXTRAS = {
    "demo": ("scikit-image",),
    "train": ("scikit-image", "tensorboard"),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "bench": ("onnx", "onnxruntime", "openvino", "nncf", "MNN"),
    "trt": ("tensorrt",),
    "test": ("pytest", "hypothesis"),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: what it is, one or two words.
        status: "ok"; "missing": something of the core does not work; "optional": not there; only some things need it.
        detail: what was found, or what is lost without it.
        fix: what to do about it, one sentence; empty when `status` is "ok".
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


def examine() -> list[Finding]:
    """Look at this machine and installation. Reads files and asks drivers; changes nothing, uses no network.

    Returns:
        One finding for each part, in the order of a good report.
    """
    parts: tuple[Callable[[], list[Finding]], ...] = (
        _python,
        _torch,
        _compiled,
        _cuda,
        _cpu,
        _engine,
        _codec,
        _cascade,
        _weights,
        _extras,
    )
    return [finding for part in parts for finding in part()]


def _python() -> list[Finding]:
    return [Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]


def _torch() -> list[Finding]:
    import torch

    return [Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")]


def _compiled() -> list[Finding]:
    reason = why_missing("_C")
    if reason:
        lost = f"{reason}; the CPU operators run in plain PyTorch, slower and with the same results"
        return [Finding("compiled CPU library", "optional", lost, "Install a C++ compiler, then the package again.")]
    info = library("_C").build_info()
    threads = "OpenMP" if info["openmp"] else "no OpenMP: one thread"
    detail = f"compiler {info['compiler']}, {threads}, csrc {info['source_hash']}"
    if info["mutants"]:
        fix = "Build again without EAMFMEG_MUTANTS."
        return [Finding("compiled CPU library", "missing", f"{detail}; carries planted faults", fix)]
    if is_stale(library("_C")):
        return [Finding("compiled CPU library", "missing", f"{detail}: older than csrc/", "Rebuild: make install.")]
    return [Finding("compiled CPU library", "ok", detail)]


def _cuda() -> list[Finding]:
    import torch

    findings = []
    if torch.cuda.is_available():
        findings.append(Finding("CUDA", "ok", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"))
    else:
        built = (
            f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "this torch has no CUDA in it"
        )
        fix = "Install an NVIDIA driver and a CUDA build of torch; without them everything runs on the CPU."
        findings.append(Finding("CUDA", "optional", f"no device: {built}", fix))
    reason = why_missing("_cuda")
    if reason:
        fix = "In a checkout: EAMFMEG_CUDA=1 pip install --no-build-isolation -e ."
        findings.append(Finding("compiled CUDA library", "optional", reason, fix))
    else:
        findings.append(Finding("compiled CUDA library", "ok", f"csrc {library('_cuda').build_info()['source_hash']}"))
    lost = "no Triton kernels: the GPU runs plain PyTorch"
    findings.append(_distribution("triton", lost, "pip install 'triton>=3.6,<3.8' (Linux, x86-64)."))
    return findings


def _cpu() -> list[Finding]:
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return [Finding("CPU instructions", "optional", "cannot be read on this system", "Nothing needs doing.")]
    have = [flag for flag in _CPU_FLAGS if flag in words]
    lack = [flag for flag in _CPU_FLAGS if flag not in words]
    detail = f"{', '.join(have) or 'none of those that help'}; without {', '.join(lack) or 'none'}"
    return [Finding("CPU instructions", "ok", detail)]


def _engine() -> list[Finding]:
    from eamfmeg_fast.engine import choose_backend

    return [Finding("engine", "ok", choose_backend().reason)]


def _codec() -> list[Finding]:
    try:
        import av
    except ImportError as error:
        return [Finding("video", "missing", f"PyAV does not import: {error}", "pip install 'av>=14'.")]
    if "libx264" in av.codecs_available:
        return [Finding("video", "ok", f"PyAV {av.__version__} with libx264")]
    fix = "Install PyAV's own wheel (pip install --only-binary av av); PNG folders and GIF work without."
    return [Finding("video", "missing", f"PyAV {av.__version__} has no libx264: no MP4 can be written", fix)]


def _cascade() -> list[Finding]:
    own = sorted((_PACKAGE / "data").glob("*.xml*"))
    if own:
        return [Finding("face cascade", "ok", ", ".join(path.name for path in own))]
    try:
        import cv2
    except ImportError as error:
        fix = "pip install 'opencv-python-headless>=4.10,<5'."
        return [Finding("face cascade", "missing", f"OpenCV does not import: {error}", fix)]
    folder = Path(getattr(getattr(cv2, "data", None), "haarcascades", ""))
    found = hasattr(cv2, "CascadeClassifier") and sorted(folder.glob("haarcascade_frontalface*.xml"))
    if found:
        return [Finding("face cascade", "ok", f"OpenCV {cv2.__version__}: {len(found)} files")]
    fix = "pip install 'opencv-python-headless>=4.10,<5'; or crop faces yourself."
    return [Finding("face cascade", "missing", f"OpenCV {cv2.__version__} has none: no face is found", fix)]


def _weights() -> list[Finding]:
    files = sorted((_PACKAGE / "pretrained").glob("*.safetensors"))
    if not files:
        fix = "Name a .safetensors file, or make one from a checkpoint with `eamfmeg convert`."
        return [Finding("weights", "optional", "none came with this installation", fix)]
    return [_weights_file(path) for path in files]


def _weights_file(path: Path) -> Finding:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        # A damaged length must not become a request for memory.
        head = file.read(min(size, path.stat().st_size))
        file.seek(0)
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    try:
        preset = json.loads(head)["__metadata__"]["preset"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Finding(f"weights {path.stem}", "missing", "the file is damaged", "Install the package again.")
    detail = f"preset {preset}, {path.stat().st_size / 1e6:.1f} MB, sha256 {digest.hexdigest()[:16]}"
    return Finding(f"weights {path.stem}", "ok", detail)


def _extras() -> list[Finding]:
    findings = []
    for extra, names in _EXTRAS.items():
        absent = [name for name in names if _version(name) is None]
        if absent:
            fix = f"pip install 'eamfmeg_fast[{extra}]'."
            findings.append(Finding(f"extra {extra}", "optional", f"without {', '.join(absent)}", fix))
        else:
            have = ", ".join(f"{name} {_version(name)}" for name in names)
            findings.append(Finding(f"extra {extra}", "ok", have))
    return findings


def _distribution(name: str, lost: str, fix: str) -> Finding:
    version = _version(name)
    return Finding(name, "ok", version) if version else Finding(name, "optional", lost, fix)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
