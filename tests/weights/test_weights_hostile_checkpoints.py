"""Hostile torch.save files: nothing in them runs, nothing is written, one line says why."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights import checkpoint as parent
from eamfmeg_fast.weights import child, convert

BIAS = {"generator": {"final.bias": torch.zeros(3)}}


class Call:
    """Calls a function when it is unpacked without care."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


class Subclass(torch.Tensor):
    """A tensor of another class."""


def _saved(content: object, **options: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, **options)


def _calling(function: Callable[..., Any], *arguments: object, deep: bool = False, **options: Any) -> Any:
    call = Call(function, *arguments)
    content = {"discriminator": [({"a": [call]},)]} | BIAS if deep else {"generator": call}
    return _saved(content, **options)


def _rezip(change: Callable[[zipfile.ZipFile, zipfile.ZipFile], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.save(BIAS, path.with_suffix(".tmp"))
        with zipfile.ZipFile(path.with_suffix(".tmp")) as old, zipfile.ZipFile(path, "w") as new:
            change(old, new)
        path.with_suffix(".tmp").unlink()

    return make


def _copy(old: zipfile.ZipFile, new: zipfile.ZipFile, skip: str = "?", kind: int = zipfile.ZIP_STORED) -> None:
    for record in old.infolist():
        if skip not in record.filename:
            new.writestr(record.filename, old.read(record), kind)


def _bomb(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    _copy(old, new)
    new.writestr("archive/data/9", bytes(64 << 20), zipfile.ZIP_DEFLATED)


def _twice(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    _copy(old, new)
    with pytest.warns(UserWarning, match="Duplicate name"):
        _copy(old, new)


def _inside(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    new.writestr("archive/data/0", bytes(4096))
    for number in range(1, 50):
        record = zipfile.ZipInfo(f"archive/data/{number}")
        record.file_size = record.compress_size = 4096
        record.header_offset = record.CRC = 0
        new.filelist.append(record)
    _copy(old, new, skip="data/0")


def _script(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    _copy(old, new)
    new.writestr("archive/constants.pkl", b"\x80\x02).")


def _cut(size: int, **options: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.save(BIAS, path, **options)
        path.write_bytes(path.read_bytes()[:size])

    return make


def _many(old: zipfile.ZipFile, new: zipfile.ZipFile) -> None:
    _copy(old, new)
    for number in range(child.MAX_RECORDS):
        new.writestr(f"archive/data/x{number}", b"")


def _hostile(canary: str) -> dict[str, tuple[Callable[[Path], None], str]]:
    old = {"_use_new_zipfile_serialization": False}
    touch = f"touch {canary}"
    code = f"open({canary!r}, 'w').close()"
    return {
        "os.system": (_calling(os.system, touch), r"asks for (posix|nt)\.system"),
        "os.system, old format": (_calling(os.system, touch, **old), r"asks for (posix|nt)\.system"),
        "os.system, deep in a part left out": (_calling(os.system, touch, deep=True), r"asks for (posix|nt)\.system"),
        "os.system, protocol 4": (_calling(os.system, touch, pickle_protocol=4), "builds objects"),
        "eval": (_calling(eval, code), r"asks for \S+\.eval"),
        "exec, old format": (_calling(exec, code, **old), r"asks for \S+\.exec"),
        "getattr": (_calling(getattr, "", "join"), r"asks for \S+\.getattr"),
        "Popen": (_calling(subprocess.Popen, ["touch", canary]), r"asks for \S+\.Popen"),
        "torch.load": (_calling(torch.load, canary), r"asks for torch\.serialization\.load"),
        "torch.hub": (_calling(torch.hub.load, "a/b", "c"), r"asks for torch\.hub\.load"),
        "import": (_calling(__import__, "antigravity"), r"asks for \S+\.__import__"),
        "own class": (_saved({"generator": collections.Counter()}), r"asks for collections\.Counter"),
        "sparse tensor": (_saved({"generator": {"w": torch.eye(3).to_sparse()}}), r"_rebuild_sparse_tensor"),
        "tensor subclass": (_saved({"generator": {"w": torch.zeros(3).as_subclass(Subclass)}}), "asks for"),
        "tensor with attributes": (_saved({"generator": {"w": _tagged()}}), "_rebuild_from_type_v2"),
        "byte storage": (_saved({"generator": torch.zeros(3).untyped_storage()}), r"UntypedStorage"),
        "float8": (_saved({"generator": {"w": torch.zeros(3, dtype=torch.float8_e5m2)}}), "asks for"),
        "TorchScript": (_rezip(_script), "TorchScript archive"),
        "compressed": (_rezip(lambda a, b: _copy(a, b, kind=zipfile.ZIP_DEFLATED)), "compressed or encrypted"),
        "zip bomb": (_rezip(_bomb), "compressed or encrypted"),
        "records twice": (_rezip(_twice), "different"),
        "records inside others": (_rezip(_inside), "one inside another|damaged zip"),
        "too many records": (_rezip(_many), "at most 20000"),
        "zip without objects": (_rezip(lambda a, b: _copy(a, b, skip="data.pkl")), "no single data.pkl"),
        "zip cut": (_cut(600), "damaged zip"),
        "zip of another program": (lambda path: zipfile.ZipFile(path, "w").writestr("a", "b"), "damaged zip|data.pkl"),
        "old format cut": (_cut(120, **old), "damaged object data"),
        "old format, other magic": (lambda path: path.write_bytes(b"\x80\x02K\x01."), "torch.save did not write"),
        "plain protocol 0": (lambda path: path.write_bytes(b"cos\nsystem\n(S'id'\ntR."), "unknown kind"),
        "empty": (lambda path: path.write_bytes(b""), "is empty"),
        "text": (lambda path: path.write_text("weights, honestly"), "unknown kind"),
    }


def _tagged() -> torch.Tensor:
    tensor = torch.zeros(3)
    tensor.note = "extra"  # type: ignore[attr-defined]
    return tensor


@pytest.mark.parametrize("kind", _hostile("canary"))
def test_hostile_checkpoints_are_refused(kind: str, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    inbox.mkdir()
    canary = tmp_path / "canary"
    make, words = _hostile(str(canary))[kind]
    make(inbox / "hostile.pth.tar")
    before = sorted(path.name for path in inbox.iterdir())
    with pytest.raises(WeightsError, match=words) as caught:
        convert(inbox / "hostile.pth.tar", inbox / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    assert sorted(path.name for path in inbox.iterdir()) == before == ["hostile.pth.tar"]


def test_the_canary_can_sing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    _hostile(str(canary))["os.system"][0](tmp_path / "hostile.pth")
    torch.load(tmp_path / "hostile.pth", weights_only=False)
    assert canary.exists()


def test_a_storage_larger_than_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.pth"
    torch.save({"generator": {"w": torch.zeros(123_456)}}, path, _use_new_zipfile_serialization=False)
    # The length is written as a 4-byte integer in the object and again before the data.
    claimed = path.read_bytes().replace((123_456).to_bytes(4, "little"), (0x7FFFFF00).to_bytes(4, "little"), 1)
    path.write_bytes(claimed)
    with pytest.raises(WeightsError, match="memory|cannot read it"):
        convert(path, tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["big.pth"]


def test_a_slow_reader_is_stopped(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"took more than 0\.05 s"):
        convert(checkpoint, tmp_path / "out.safetensors", seconds=0.05)
    assert not list(tmp_path.iterdir())


def test_nan_in_a_checkpoint_is_named(parts: dict[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    spoiled = parts | {"kp_detector": parts["kp_detector"] | {"kp.bias": parts["kp_detector"]["kp.bias"] * torch.nan}}
    torch.save(spoiled, tmp_path / "nan.pth.tar")
    with pytest.raises(WeightsError, match=r"kp_detector\.kp\.bias holds NaN"):
        convert(tmp_path / "nan.pth.tar", tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pth.tar"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "a list at the top"),
        ({1: {}}, "a dict at the top"),
        ({"generator": [1]}, "part generator is a list"),
        ({"generator": {2: torch.zeros(1)}}, "part generator is a dict"),
        ({"epoch": 3}, "none of the parts"),
        ({"generator": {"w": [1.0]}}, "generator.w is a list"),
        ({"generator": {"w": torch.zeros(1).as_subclass(Subclass)}}, "generator.w is a Subclass"),
        ({"generator": {"w": torch.eye(2).to_sparse()}}, "sparse_coo"),
        ({"generator": {"w": torch.zeros(1, device="meta")}}, "expected a dense tensor|strided"),
        ({"generator": {"w": torch.zeros(1, dtype=torch.complex64)}}, "complex64"),
        ({"generator": {"w": torch.zeros(1, dtype=torch.int64)}}, "int64"),
        ({"generator": {"w": torch.zeros(1).expand(1 << 20, 1 << 12)}}, r"more than 1048576 bytes"),
        ({"generator": {"a.num_batches_tracked": torch.zeros(1)}}, "float32"),
        ({"generator": {str(n): torch.zeros(1) for n in range(child.MAX_TENSORS + 1)}}, "4097 tensors"),
    ],
)
def test_only_dicts_of_plain_tensors(content: object, words: str) -> None:
    with pytest.raises(child.Refused, match=words):
        tensors, _, _ = child.flatten(content)
        child.check_tensors(tensors, 1 << 20)


@pytest.mark.parametrize(
    "action",
    [
        "os.system('touch ' + canary)",
        "subprocess.run(['touch', canary])",
        "open(canary, 'w')",
        "os.open(canary, os.O_CREAT | os.O_WRONLY)",
        "os.mkdir(canary)",
        "socket.socket()",
        "os.rename(allowed, canary)",
        "os.fork() or open(canary, 'w')",
    ],
)
def test_the_second_lock_holds_by_itself(action: str, tmp_path: Path) -> None:
    canary, allowed = tmp_path / "canary", tmp_path / "allowed"
    script = "\n".join(
        [
            "import importlib.util, os, socket, subprocess, sys",
            f"spec = importlib.util.spec_from_file_location('child', {child.__file__!r})",
            "child = importlib.util.module_from_spec(spec)",
            "spec.loader.exec_module(child)",
            f"canary, allowed = {str(canary)!r}, {str(allowed)!r}",
            "child.forbid({allowed})",
            "open(allowed, 'w').write('fine')",
            "try:",
            f"    {action}",
            "except child.Refused:",
            "    os._exit(7)",
        ]
    )
    assert subprocess.run([sys.executable, "-I", "-c", script], check=False).returncode == 7
    assert allowed.exists() and not canary.exists()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        '{"tensors": [], "left_out": {}, "epoch": null}',
        '{"tensors": {"a": {"dtype": "F3", "shape": [1], "finite": true}}, "left_out": {}, "epoch": null}',
        '{"tensors": {"a": {"dtype": "F32", "shape": ["1"], "finite": true}}, "left_out": {}, "epoch": null}',
        '{"tensors": {}, "left_out": {}, "epoch": "now"}',
        '{"refused": {"got": "line\\nbreak \\u001b[31m"}}',
    ],
)
def test_the_answer_is_not_trusted(
    answer: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "fake.py"
    fake.write_text(f"import json, sys\nopen(json.loads(sys.argv[1])['report'], 'w').write({answer!r})\n")
    monkeypatch.setattr(parent, "_CHILD", fake)
    with pytest.raises(WeightsError) as caught:
        convert(checkpoint, tmp_path / "out.safetensors")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out.safetensors").exists()


def test_the_reader_sees_nothing_of_this_process(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "fake.py"
    lines = [
        "import json, os, sys",
        "seen = ' '.join(sorted(os.environ)) + ' in ' + str(len(os.listdir('/proc/self/fd')))",
        "got = {'got': seen + ' ' + sys.stdin.read(), 'expected': '', 'fix': ''}",
        "open(json.loads(sys.argv[1])['report'], 'w').write(json.dumps({'refused': got}))",
    ]
    fake.write_text("\n".join(lines))
    monkeypatch.setattr(parent, "_CHILD", fake)
    monkeypatch.setenv("SECRET_OF_THE_USER", "1")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with pytest.raises(WeightsError, match=r"LC_ALL OMP_NUM_THREADS in 4"):
        convert(checkpoint, tmp_path / "out.safetensors")
