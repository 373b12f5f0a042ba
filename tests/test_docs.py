"""What the documents promise exists: commands, make targets, files, public names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import lab_table
import pytest

import eamfmeg_fast
from eamfmeg_fast.weights import StoredWeights, pretrained_names

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "csrc/README.md")
_RUN = "import sys; from eamfmeg_fast.cli import main; sys.argv[0] = 'eamfmeg'; sys.exit(main())"


def blocks(text: str) -> list[tuple[str, str]]:
    """All fenced code blocks as (language, code), and the indented ones as shell."""
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = "\n".join(line[4:] for line in rest.splitlines() if re.match(r" {4}\S", line))
    return [*fenced, ("sh", indented)]


def commands(text: str, program: str) -> set[str]:
    """First words after `program` in the shell blocks and in `inline code`."""
    shell = [code for language, code in blocks(text) if language in ("", "sh", "bash", "shell", "console")]
    shell += re.findall(r"`([^`\n]+)`", text)
    found = set()
    for code in shell:
        for line in code.splitlines():
            line = line.split("#")[0]
            found |= set(re.findall(rf"(?:^|&& |\$ |; ){program} ([a-z][a-z_-]*)", line))
    return found


def _read(root: Path, name: str) -> str:
    return (root / name).read_text()


def make_targets(root: Path) -> set[str]:
    """Names of the targets that the Makefile offers to people."""
    return set(re.findall(r"^([a-z]+):.*## ", _read(root, "Makefile"), re.MULTILINE))


def test_the_readme_is_short(root: Path) -> None:
    assert len(_read(root, "README.md").splitlines()) <= 220


@pytest.mark.parametrize("name", DOCUMENTS)
def test_make_targets_exist(root: Path, name: str) -> None:
    assert commands(_read(root, name), "make") <= make_targets(root)


def test_cli_verbs_exist(root: Path) -> None:
    verbs = set().union(*(commands(_read(root, name), "eamfmeg") for name in DOCUMENTS))
    assert _exit_code("no-such-verb") == 2
    assert not [verb for verb in sorted(verbs) if _exit_code(verb) != 0]


def _exit_code(verb: str) -> int:
    return subprocess.run([sys.executable, "-c", _RUN, verb, "--help"], capture_output=True).returncode


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_blocks_parse_and_name_what_exists(root: Path, name: str) -> None:
    for language, code in blocks(_read(root, name)):
        if language not in ("python", "py"):
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "eamfmeg_fast":
                assert {alias.name for alias in node.names} <= set(eamfmeg_fast.__all__)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_named_in_documents_exist(root: Path, name: str) -> None:
    text = _read(root, name)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not ((root / name).parent / link).exists()]
    paths = re.findall(r"`((?:tests|csrc|kernels|export|eamfmeg_fast|benchmarks)/[\w/.]+\.\w+)`", text)
    missing += [path for path in paths if not (root / path).exists()]
    assert not missing


def test_the_tests_that_security_names_exist(root: Path) -> None:
    """A promise in SECURITY.md names its tests as `file::test`."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _read(root, "SECURITY.md"))
    assert named
    assert not [f"{file}::{test}" for file, test in named if f"def {test}(" not in _read(root, file)]


def test_versions_agree(root: Path) -> None:
    version = eamfmeg_fast.__version__
    assert f"\nversion: {version}\n" in _read(root, "CITATION.cff")
    assert f"## [{version}]" in _read(root, "CHANGELOG.md")


def test_the_readers_of_documents_see() -> None:
    text = (
        "Run `make bench`.\n\n```sh\ngit clone x && make demo  # make tea\neamfmeg retarget a b\n```\n\n    make test\n"
    )
    assert commands(text, "make") == {"bench", "demo", "test"}
    assert commands(text, "eamfmeg") == {"retarget"}


def test_the_readme_shows_what_was_measured_on_the_shipped_weights(root: Path) -> None:
    """The table of lab scores is the one kept in benchmarks/results, and that is of the weights in the package."""
    scores = lab_table.shipped_scores(lab_table.kept_scores())
    assert len(scores) == 2 * len(pretrained_names()), "run `make lab` and commit what it writes"
    assert lab_table.table(scores) in _read(root, "README.md")
    for name in pretrained_names():
        size = StoredWeights(name).info.path.stat().st_size
        assert f"| `{name}` | {size / 1e6:.1f} MB |" in _read(root, "README.md")
