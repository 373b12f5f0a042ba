"""Importing costs nothing, says nothing and touches no device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_ALL = """
import importlib, os, sys
import torch, cv2  # OpenCV extends LD_LIBRARY_PATH; what is measured is ours
def state():
    return torch.get_num_threads(), torch.random.initial_seed(), torch.get_default_dtype(), dict(os.environ)
before = state()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] == "eamfmeg_fast":
            raise
        print("needs", error.name, "for", name, file=sys.stderr)
if state() != before:
    raise SystemExit("importing changed threads, seed or environment")
if torch.cuda.is_initialized():
    raise SystemExit("importing touched the GPU")
"""


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def _modules(root: Path) -> list[str]:
    names = []
    for folder in ("eamfmeg_fast", "kernels", "export"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            prefix = () if folder == "eamfmeg_fast" else ("eamfmeg_fast",)
            names.append(".".join((*prefix, *parts)).removesuffix(".__init__"))
    return [name for name in names if not name.endswith("__main__")]


def test_the_package_imports_without_torch() -> None:
    code = "import eamfmeg_fast, sys; print(sorted({'torch', 'numpy', 'cv2', 'av', 'triton'} & set(sys.modules)))"
    run = _run("-W", "error", "-c", code)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


@pytest.mark.slow
def test_every_module_imports_quietly(root: Path) -> None:
    names = _modules(root)
    assert "eamfmeg_fast.kernels.identity.triton_kernel" in names
    run = _run("-c", _ALL, *names)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout == ""


@pytest.mark.parametrize("name", ["kernels", "export"])
def test_the_top_level_folders_refuse_a_bare_import(root: Path, name: str) -> None:
    """`kernels` is also somebody else's package: ours must not answer to that name."""
    run = _run("-c", f"import sys; sys.path.insert(0, {str(root)!r}); import {name}")
    assert run.returncode == 1 and f"'eamfmeg_fast.{name}'" in run.stderr
