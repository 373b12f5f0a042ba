"""The house style, held by a reader of the source. Each rule is also shown text that breaks it."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

import pytest

MAX_FILE, GOAL_FILE = 320, 300
MAX_FUNCTION, GOAL_FUNCTION = 60, 40

_SHIPPED = ("eamfmeg_fast", "kernels", "export")
_TEXT_SUFFIXES = set(".py .cpp .cu .cuh .h .js .html .css .md .toml .cff .yaml .yml .sh .in".split())
_SPEAKING = ("eamfmeg_fast/cli", "eamfmeg_fast/demo")
_BANNED_CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "os.system": "runs a shell",
    "cv2.imread": "decodes before the size is known",
    "cv2.imdecode": "decodes before the size is known",
    "yaml.load": "can run code",
}
_BANNED_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
_NETWORK_MODULES = {
    "socket",
    "urllib",
    "http",
    "ftplib",
    "requests",
    "httpx",
    "aiohttp",
    "huggingface_hub",
    "torch.hub",
}
_BANNED_NAMES = re.compile(
    r"source|(source|src)(_(image|img|frame|face|picture|kp|keypoints|identity|clip|video|state))"
)
# Put together from pieces, so that this file does not hold what it looks for.
_MACHINE_PATHS = ("/wo" + "rk/", "/ro" + "ot/", "/fa" + "rm/", "/ho" + "me/")
_BANNED_TEXT = ("weights_only=" + "False", "tl.make_" + "block_ptr")


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length_faults(text: str, file_lines: int = MAX_FILE, function_lines: int = MAX_FUNCTION) -> list[str]:
    """Files and functions that are too long to be read at one sitting."""
    lines = text.count("\n") + 1
    faults = [f"{lines} lines"] if lines > file_lines + 1 else []
    for function in _functions(ast.parse(text)):
        size = (function.end_lineno or 0) - function.lineno + 1
        if size > function_lines:
            faults.append(f"{function.lineno} {function.name}: {size} lines")
    return faults


def _node_faults(node: ast.AST, lines: list[str], may_print: bool) -> list[str]:
    if isinstance(node, ast.Assert):
        return ["assert vanishes under -O; raise one of our errors"]
    if isinstance(node, ast.ExceptHandler):
        caught = ast.unparse(node.type) if node.type else ""
        if not caught:
            return ["bare except"]
        near = "".join(lines[node.lineno - 2 : node.lineno + 1])
        passed_on = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
        if caught in ("Exception", "BaseException") and "#" not in near and not passed_on:
            return [f"except {caught} without a comment that says why"]
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        return [f"imports {name}" for name in names if name.split(".")[0] in _BANNED_MODULES]
    if isinstance(node, ast.Call):
        return _call_faults(node, may_print)
    if isinstance(node, ast.Global):
        return ["global state"]
    return []


def _call_faults(node: ast.Call, may_print: bool) -> list[str]:
    name = ast.unparse(node.func)
    faults = [f"{name} {_BANNED_CALLS[name]}"] if name in _BANNED_CALLS else []
    keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if keywords.get("shell") == "True":
        faults.append("shell=True")
    if name == "torch.load" and keywords.get("weights_only") != "True":
        faults.append("torch.load without weights_only=True")
    if name == "print" and not may_print:
        faults.append("the library does not print")
    return faults


def code_faults(text: str, may_print: bool = False) -> list[str]:
    """What shipped code may not contain."""
    lines = text.splitlines()
    return [
        f"{getattr(node, 'lineno', 0)} {fault}"
        for node in ast.walk(ast.parse(text))
        for fault in _node_faults(node, lines, may_print)
    ]


def _public_classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def documentation_faults(text: str) -> list[str]:
    """Public functions and classes without a docstring, and functions without full type hints."""
    tree = ast.parse(text)
    faults = [] if ast.get_docstring(tree) or not tree.body else ["1 the module has no docstring"]
    for owner in [tree, *_public_classes(tree)]:
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            # torch calls forward; the class's docstring describes it.
            if not ast.get_docstring(node) and node.name != "forward":
                faults.append(f"{node.lineno} {node.name} has no docstring")
    for function in _functions(tree):
        jitted = any("jit" in ast.unparse(decorator) for decorator in function.decorator_list)
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if not jitted and (bare or function.returns is None):
            faults.append(f"{function.lineno} {function.name} lacks type hints {bare or '-> ...'}")
    return faults


def naming_faults(text: str, bare_too: bool = True) -> list[str]:
    """The word that two fields use for opposite things: we say target and driving. Alone it may be harmless."""
    return [
        f"{getattr(node, 'lineno', 0)} {name}: say target or driving"
        for node in ast.walk(ast.parse(text))
        for name in [getattr(node, "arg", None) or (node.id if isinstance(node, ast.Name) else None)]
        if isinstance(name, str) and _BANNED_NAMES.fullmatch(name) and (bare_too or "_" in name)
    ]


def _sources(root: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]


def _report(root: Path, faults: dict[Path, list[str]]) -> str:
    return "\n".join(f"{path.relative_to(root)}: {fault}" for path, found in faults.items() for fault in found)


def test_lengths(root: Path) -> None:
    """Hard limits on every Python file; the goals only warn."""
    files = [*_sources(root, *_SHIPPED, "tests", "benchmarks"), root / "setup.py"]
    report = _report(root, {path: length_faults(path.read_text()) for path in files})
    assert not report, f"\n{report}"
    goals = _report(root, {path: length_faults(path.read_text(), GOAL_FILE, GOAL_FUNCTION) for path in files})
    if goals:
        warnings.warn(f"longer than the goal:\n{goals}", stacklevel=1)


def test_code(root: Path) -> None:
    faults = {}
    for path in _sources(root, *_SHIPPED):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        bare_too = not name.startswith(("eamfmeg_fast/media/", "eamfmeg_fast/lab/"))
        faults[path] = code_faults(text, name.startswith(_SPEAKING)) + naming_faults(text, bare_too)
    report = _report(root, faults)
    assert not report, f"\n{report}"


def test_documentation_and_type_hints(root: Path) -> None:
    report = _report(root, {path: documentation_faults(path.read_text()) for path in _sources(root, *_SHIPPED)})
    assert not report, f"\n{report}"


def network_imports(text: str) -> list[str]:
    """Modules that reach beyond this machine."""
    nodes = list(ast.walk(ast.parse(text)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return [name for name in names if name in _NETWORK_MODULES or name.split(".")[0] in _NETWORK_MODULES]


def test_no_network(root: Path) -> None:
    """Only the live page may open a socket; nothing calls home."""
    files = [path for path in _sources(root, *_SHIPPED) if path.relative_to(root).parts[:2] != ("eamfmeg_fast", "live")]
    assert not [path for path in files if network_imports(path.read_text())]
    assert network_imports("import urllib.request") and network_imports("from torch.hub import load")


def test_no_machine_paths(root: Path) -> None:
    """Nothing depends on where somebody keeps the checkout; only tests may name what hostile files try."""
    top = [path for path in root.iterdir() if path.is_file() and path.suffix != ".log"]
    folders = [*_SHIPPED, "csrc", "tests", "benchmarks", ".ci"]
    files = [*top, *(path for folder in folders for path in (root / folder).rglob("*") if path.is_file())]
    known = [
        path for path in files if path.suffix in _TEXT_SUFFIXES or path.name in ("Makefile", "LICENSE", "run", "gpu")
    ]
    assert len(known) > 30
    found = []
    for path in known:
        banned = _MACHINE_PATHS if path.is_relative_to(root / "tests") else (*_MACHINE_PATHS, *_BANNED_TEXT)
        text = path.read_text(errors="replace")
        found += [f"{path.relative_to(root)}: {bad}" for bad in banned if bad in text]
    assert not found, "\n".join(found)


def test_no_utils(root: Path) -> None:
    assert not [path for path in _sources(root, *_SHIPPED) if path.stem in ("utils", "helpers", "misc", "common")]


@pytest.mark.parametrize(
    "text",
    [
        "assert x",
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\n\nexcept Exception:\n    g()\n",
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "cv2.imread(path)",
        "torch.load(path)",
        "print(1)",
        "def f() -> None:\n    global x",
    ],
)
def test_code_that_breaks_a_rule_is_seen(text: str) -> None:
    assert code_faults(text)


def test_code_that_breaks_no_rule_passes() -> None:
    text = (
        "try:\n    f()\nexcept Exception as error:  # plug-ins raise anything\n    raise InputError('x') from error\n"
    )
    assert not code_faults(text)
    assert not code_faults("try:\n    f()\n\nexcept BaseException:\n    remove()\n    raise\n")
    assert not code_faults("print(1)", may_print=True)
    assert not code_faults("torch.load(path, weights_only=True)")


def test_other_faults_are_seen() -> None:
    long = "def f() -> None:\n" + "    x = 1\n" * 60
    assert length_faults(long) and not length_faults(long, function_lines=61)
    assert length_faults("\n" * 321) and not length_faults("x = 1\n" * 320)
    assert documentation_faults('"""D."""\ndef f() -> None: ...')
    assert documentation_faults('"""D."""\ndef _f(x): ...')
    assert documentation_faults("x = 1")
    assert not documentation_faults('"""D."""\ndef _f(x: int) -> None: ...')
    assert naming_faults("source_image = 1") and naming_faults("f(source=1)") and naming_faults("def f(source): ...")
    assert not naming_faults("source = 1", bare_too=False) and naming_faults("source_face = 1", bare_too=False)
    assert not naming_faults("source_hash = inspect.getsource(f)")
