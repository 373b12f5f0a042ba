"""The compiled libraries: a stale one warns, a missing one is an error that says what to do."""

from __future__ import annotations

import shutil
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from eamfmeg_fast.errors import BackendError
from eamfmeg_fast.kernels import compiled
from eamfmeg_fast.kernels.source_hash import source_hash


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    compiled._load.cache_clear()
    yield
    compiled._load.cache_clear()


def _answer(monkeypatch: pytest.MonkeyPatch, found: types.ModuleType | Exception) -> None:
    def load(name: str) -> types.ModuleType:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(compiled.importlib, "import_module", load)


def _built_from(fingerprint: str) -> types.ModuleType:
    module = types.ModuleType("_C")
    module.__dict__["build_info"] = lambda: {"source_hash": fingerprint}
    return module


def test_a_stale_library_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, _built_from("of another time"))
    with pytest.warns(RuntimeWarning, match="make install"):
        compiled.library("_C")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled.why_missing("_C") == ""


def test_a_fresh_library_does_not_warn(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    _answer(monkeypatch, _built_from(source_hash(root / "csrc")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled.library("_C")


@pytest.mark.parametrize("error", [ModuleNotFoundError("no _C"), ImportError("undefined symbol: x")])
def test_a_missing_library_says_why(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _answer(monkeypatch, error)
    assert compiled.why_missing("_C")
    with pytest.raises(BackendError, match="doctor"):
        compiled.library("_C")


def test_the_fingerprint_follows_names_and_bytes_of_code_only(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "csrc"
    shutil.copytree(root / "csrc", copy)
    first = source_hash(copy)
    (copy / "README.md").write_text("other words")
    assert source_hash(copy) == first == source_hash(root / "csrc")
    (copy / "bindings.cpp").rename(copy / "binding.cpp")
    second = source_hash(copy)
    (copy / "binding.cpp").write_text("")
    assert len({first, second, source_hash(copy)}) == 3
