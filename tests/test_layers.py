"""Imports go one way only: a room may import the rooms on its list, and what stands below all of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

# By room: a folder or a file of the package. kernels/ and export/ stand beside it and ship inside it.
_GROUND = {"errors", "config"}
_MEDIA = {"media", "provenance"}
_PARTS = {"kernels", "network", "weights", "engine", "lab", "faces", "driving", "motion_file", *_MEDIA}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "_C": set(),
    "_cuda": set(),
    "kernels": {"_C", "_cuda"},
    "network": {"kernels"},
    "media": set(),
    "provenance": {"media"},
    "faces": {"media"},
    "lab": {"kernels", *_MEDIA},
    "weights": {"network", "provenance"},
    "engine": {"network", "kernels"},
    "motion_file": {"network", "weights", *_MEDIA},
    "driving": {"network", "faces", "motion_file", *_MEDIA},
    "retargeter": _PARTS,
    "evaluate": {"retargeter", *_PARTS},
    "synth": {"retargeter", "evaluate", *_PARTS},
    "train": {"network", "weights", "lab", "kernels", "evaluate", *_MEDIA},
    "export": {"network", "kernels", "weights"},
    "doctor": {"kernels", "network", "engine", "weights", "faces", *_MEDIA},
    "live": {"retargeter", *_PARTS},
    "demo": {"retargeter", "evaluate", "synth", "train", "live", "doctor", *_PARTS},
    "__main__": {"cli"},
    "cli": {"retargeter", "evaluate", "synth", "train", "live", "doctor", "demo", "export", *_PARTS},
}


def room_of(module: str) -> str | None:
    """`eamfmeg_fast.media.read` -> "media"; None for what is not ours or is the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "eamfmeg_fast" and len(parts) > 1 else None


def imported_rooms(text: str, here: str, lazy: dict[str, str]) -> set[str]:
    """Rooms that a module named `here` imports anywhere in its text; `lazy` maps the package's own public names."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*here.split(".")[: -node.level], *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "eamfmeg_fast" else [base]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = re.findall(r"eamfmeg_fast(?:\.\w+)+", ast.unparse(node))
        for name in names:
            room = room_of(lazy.get(name, name))
            if room is not None and not room.startswith("__"):
                found.add(room)
    return found


def _modules(root: Path) -> list[tuple[str, Path]]:
    modules = []
    for folder in ("eamfmeg_fast", "kernels", "export"):
        prefix = "" if folder == "eamfmeg_fast" else "eamfmeg_fast."
        for path in sorted((root / folder).rglob("*.py")):
            parts = [*path.relative_to(root).parts[:-1], path.stem]
            modules.append((prefix + ".".join(parts), path))
    return modules


def _lazy_names() -> dict[str, str]:
    import eamfmeg_fast

    return {f"eamfmeg_fast.{name}": f"{module}.{name}" for name, module in eamfmeg_fast._LAZY.items()} | {
        f"eamfmeg_fast.{name}": f"eamfmeg_fast.errors.{name}" for name in eamfmeg_fast.__all__ if name.endswith("Error")
    }


def test_every_arrow_points_down(root: Path) -> None:
    wrong = []
    lazy = _lazy_names()
    for module, path in _modules(root):
        room = room_of(module)
        if room is None or room == "__init__":
            continue
        assert room in ALLOWED, f"{path.relative_to(root)}: room {room!r} is new; say in ALLOWED what it may import"
        arrows = imported_rooms(path.read_text(), module, lazy) - {room} - ALLOWED[room]
        if room not in _GROUND:
            arrows -= _GROUND
        wrong += [f"{path.relative_to(root)}: {room} -> {arrow}" for arrow in sorted(arrows)]
    assert not wrong, "\n".join(wrong)


def test_the_allowed_arrows_have_no_cycle() -> None:
    done: set[str] = set()

    def visit(room: str, above: tuple[str, ...]) -> None:
        assert room not in above, " -> ".join([*above, room])
        if room not in done:
            for below in ALLOWED[room]:
                visit(below, (*above, room))
            done.add(room)

    for room in ALLOWED:
        visit(room, ())


def test_nothing_imports_tests_or_benchmarks(root: Path) -> None:
    for _, path in _modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            bare = {name.split(".")[0] for name in names} & {"tests", "benchmarks", "kernels", "export"}
            assert not bare, f"{path}: {bare}"


def test_only_the_bindings_know_python_and_nothing_knows_torch(root: Path) -> None:
    for path in (root / "csrc").rglob("*.[ch]*"):
        included = re.findall(r'#include\s*[<"]([^>"]+)', path.read_text())
        assert not [name for name in included if name.startswith(("torch/", "ATen/", "c10/"))], path
        if path.name != "bindings.cpp":
            assert not [name for name in included if name.startswith(("pybind11", "Python.h"))], path


def test_triton_is_imported_only_where_it_is_needed(root: Path) -> None:
    for _, path in _modules(root):
        if path.name in ("triton_kernel.py", "triton_build.py"):
            continue
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert "triton" not in {name.split(".")[0] for name in names}, path


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import eamfmeg_fast.cli", {"cli"}),
        ("from eamfmeg_fast import media, __version__", {"media"}),
        ("from eamfmeg_fast import Retargeter", {"retargeter"}),
        ("from ..engine.state import TargetState", {"engine"}),
        ("def f():\n    from eamfmeg_fast.weights import load_network", {"weights"}),
        ("import importlib\nimportlib.import_module('eamfmeg_fast.live.page')", {"live"}),
        ("import numpy\nfrom os import path", set()),
    ],
)
def test_the_reader_of_imports_sees(text: str, rooms: set[str]) -> None:
    assert imported_rooms(text, "eamfmeg_fast.lab.clip", _lazy_names()) == rooms
