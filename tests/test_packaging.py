"""From this checkout to an sdist, from that to a wheel, from that to an installation that works elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytestmark = pytest.mark.slow

_BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"
_USE = """
import eamfmeg_fast, eamfmeg_fast.export, torch
from eamfmeg_fast.kernels.identity import OP, identity
print(eamfmeg_fast.__file__)
print(repr(OP.rooms["cpu"].missing()))
x = torch.arange(24.0).view(1, 2, 4, 3)
print(torch.equal(identity(x), x))
"""
_LEFT_OUT = (
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "*.so",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "runs",
    "out",
)


def _python(*arguments: str, cwd: Path) -> str:
    run = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-1500:] + run.stderr[-1500:]
    return run.stdout


@pytest.fixture(scope="module")
def sdist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist of this checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(root, folder / "checkout", ignore=shutil.ignore_patterns(*_LEFT_OUT))
    _python("-c", _BUILD, "sdist", str(folder), cwd=folder / "checkout")
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    _python("-c", _BUILD, "wheel", str(folder), cwd=sdist)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    """Names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_sdist_has_every_compiled_source(root: Path, sdist: Path) -> None:
    for path in (root / "csrc").rglob("*"):
        if path.is_file():
            assert (sdist / path.relative_to(root)).is_file(), path


def test_the_wheel_claims_only_our_name(members: set[str]) -> None:
    tops = {PurePosixPath(name).parts[0] for name in members}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"eamfmeg_fast"}


def test_the_wheel_has_every_module_and_data_file(root: Path, members: set[str]) -> None:
    package = root / "eamfmeg_fast"
    wanted = {path.relative_to(root).as_posix() for path in package.rglob("*.py")}
    wanted |= {path.relative_to(root).as_posix() for path in package.glob("pretrained/*.safetensors")}
    wanted |= {path.relative_to(root).as_posix() for path in package.glob("data/*.xml*")}
    for room in ("kernels", "export"):
        wanted |= {f"eamfmeg_fast/{path.relative_to(root).as_posix()}" for path in (root / room).rglob("*.py")}
    assert wanted | {"eamfmeg_fast/py.typed"} <= members, sorted(wanted - members)


def test_the_wheel_holds_no_rubbish(members: set[str]) -> None:
    assert not [name for name in members if name.endswith((".cpp", ".cu", ".h", ".pyc", ".md"))]


def test_tensorrt_is_only_an_extra(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needs = [line for line in lines if line.startswith("Requires-Dist: ")]
    core = [line for line in needs if "extra ==" not in line]
    assert any("torch" in line for line in core) and not any("tensorrt" in line for line in core)
    assert not [line for line in needs if " @ " in line]
    assert all("<" in line or "tensorrt" in line for line in needs), needs


def test_the_installed_package_works_elsewhere(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target))
    _python(*pip, str(wheel), cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"import sys; sys.path.insert(0, {str(target)!r})" + _USE
    file, missing, same = _python("-c", code, cwd=elsewhere).splitlines()
    assert Path(file).is_relative_to(target) and same == "True"
    if shutil.which("c++") or shutil.which("g++"):
        assert missing == "''"
