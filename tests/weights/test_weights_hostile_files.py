"""Damaged and hostile safetensors files: each is refused in one line that says what is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.weights import inspect, load_network
from eamfmeg_fast.weights.shapes import expected_shapes

FIRST = "generator.first.conv.weight"
VARIANCE = "generator.first.norm.running_var"

Fields = dict[str, Any]


def _put(name: str, value: float) -> Callable[[Fields, bytearray], None]:
    def change(fields: Fields, data: bytearray) -> None:
        begin = fields[name]["data_offsets"][0]
        data[begin : begin + 4] = np.float32(value).tobytes()

    return change


def _field(name: str, **values: object) -> Callable[[Fields, bytearray], None]:
    return lambda fields, data: fields[name].update(values)


def _metadata(**values: object) -> Callable[[Fields, bytearray], None]:
    return lambda fields, data: fields["__metadata__"].update(values)


def _shift(begin: int, end: int) -> Callable[[Fields, bytearray], None]:
    def change(fields: Fields, data: bytearray) -> None:
        offsets = fields[FIRST]["data_offsets"]
        fields[FIRST]["data_offsets"] = [offsets[0] + begin, offsets[1] + end]

    return change


def _extra(fields: Fields, data: bytearray, name: str = "generator.surprise") -> bytearray:
    fields[name] = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
    return data + bytearray(4)


def _drop_last(fields: Fields, data: bytearray) -> bytearray:
    name = max((name for name in fields if name != "__metadata__"), key=lambda name: fields[name]["data_offsets"])
    return data[: fields.pop(name)["data_offsets"][0]]


def _kernel(fields: Fields, data: bytearray) -> bytearray:
    name = "kp_detector.down.weight"
    kernel = np.full(expected_shapes("small")[name], 0.01, np.float32)
    fields[name] = {"dtype": "F32", "shape": list(kernel.shape), "data_offsets": [len(data), len(data) + kernel.nbytes]}
    return data + bytearray(kernel.tobytes())


def _long_integer(fields: Fields, data: bytearray) -> None:
    fields[FIRST]["shape"] = [1 << 60, 1 << 60]


MUTATIONS: dict[str, tuple[Callable[[Fields, bytearray], bytearray | None], str]] = {
    "NaN": (_put(FIRST, float("nan")), rf"{FIRST} holds NaN"),
    "infinite": (_put(FIRST, float("inf")), rf"{FIRST} holds infinite"),
    "negative variance": (_put(VARIANCE, -1.0), rf"{VARIANCE} holds a negative variance"),
    "changed number": (_put(FIRST, 0.123), "does not hold what its hash says"),
    "truncated data": (lambda fields, data: data[:-5], "bytes of data where"),
    "trailing data": (lambda fields, data: data + b"more", "bytes of data where"),
    "overlapping offsets": (_shift(-4, -4), "a hole or an overlap"),
    "hole": (_shift(4, 4), "a hole or an overlap"),
    "size and shape differ": (_shift(0, 4), r"bytes for generator\.first"),
    "offset beyond the file": (_shift(1 << 40, 1 << 40), "a hole or an overlap"),
    "negative offset": (_field(FIRST, data_offsets=[-8, 0]), "no plain shape and offsets"),
    "boolean shape": (_field(FIRST, shape=[True, 3, 7, 7]), "no plain shape and offsets"),
    "endless shape": (_field(FIRST, shape=[1] * 5000), "no plain shape and offsets"),
    "overflowing shape": (_long_integer, "no plain shape and offsets"),
    "shape is text": (_field(FIRST, shape="16,3,7,7"), "no plain shape and offsets"),
    "unknown dtype": (_field(FIRST, dtype="F4"), "is F4"),
    "dtype is a list": (_field(FIRST, dtype=["F32"]), "expected one of"),
    "unknown field": (_field(FIRST, code="import os"), "no dtype, shape and data_offsets"),
    "tensor is text": (lambda fields, data: fields.update({FIRST: "x"}), "no dtype, shape and data_offsets"),
    "integers for weights": (_field("generator.first.norm.weight", dtype="I64", shape=[8]), r"shape \[8\]"),
    "other shape": (_field(FIRST, shape=[3, 16, 7, 7]), r"\[3, 16, 7, 7\]; expected shape \[16, 3, 7, 7\]"),
    "missing tensor": (_drop_last, "is missing"),
    "additional tensor": (_extra, r"generator\.surprise.*no such tensor in preset small"),
    "name with line breaks": (lambda f, d: _extra(f, d, "generator.\n\x1b[31mline"), "no such tensor"),
    "very long name": (lambda f, d: _extra(f, d, "generator." + "x" * 100_000), "no such tensor"),
    "another antialias kernel": (_kernel, r"down\.weight is off the antialias kernel by"),
    "another preset": (_metadata(preset="fomm"), "in preset fomm"),
    "unknown preset": (_metadata(preset="../../etc/passwd"), "is for preset"),
    "newer format": (_metadata(format_version="2"), "format version 2"),
    "foreign format": (_metadata(format="pt"), "not of this package.*eamfmeg convert"),
    "metadata not text": (_metadata(card={"a": 1}), "metadata that is not text"),
    "card no JSON": (_metadata(card="__import__('os')"), "model card that is no JSON"),
    "card no object": (_metadata(card="[1]"), "model card that is no object"),
    "hash missing": (lambda fields, data: fields["__metadata__"].pop("sha256") and None, "its hash says"),
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutated_files_are_refused(kind: str, mutated: Callable[..., Path]) -> None:
    change, words = MUTATIONS[kind]
    with pytest.raises(WeightsError, match=words) as caught:
        load_network(mutated(change))
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


def _header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"hello, these are my weights\n", "of an unknown kind"),
    "web page": (b"<!DOCTYPE html><title>Quota exceeded</title>", "a web page"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "three bytes": (b"\x00\x01\x02", "of an unknown kind"),
    "header of 4 GB": (_header(b"{}", 4 << 30), "a header of 4294967296 bytes"),
    "header of 16 EB": (_header(b"{}", (1 << 64) - 1), "a header of"),
    "header longer than the file": (_header(b'{"a":1}', 900), "a header of 900 bytes in a file"),
    "header cut": (_header(b'{"a":{"dtype":"F3'), "no JSON object"),
    "header no UTF-8": (_header(b"{\xff\xfe}"), "no JSON object"),
    "header too deep": (_header(b'{"a":' * 100_000), "no JSON object"),
    "number too long": (_header(b'{"a":' + b"9" * 5000 + b"}"), "no JSON object"),
    "duplicate keys": (_header(b'{"__metadata__":{},"__metadata__":{}}'), "the same key twice"),
    "too many tensors": (_header(json.dumps(dict.fromkeys(map(str, range(70_000)))).encode()), "at most 65536"),
    "nothing in it": (_header(b"{}"), "not of this package"),
    "checkpoint by another name": (b"PK\x03\x04" + bytes(60), "eamfmeg convert"),
    "old checkpoint by another name": (
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        "eamfmeg convert",
    ),
    "serialised object by another name": (b"\x80\x04\x95" + bytes(40), "a serialised object"),
}


@pytest.mark.parametrize("kind", FILES)
def test_foreign_files_are_refused(kind: str, tmp_path: Path) -> None:
    content, words = FILES[kind]
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vox.pth", "vox.pth.tar", "vox.pt", "vox.ckpt"])
def test_checkpoints_are_refused_by_name(name: str, tmp_path: Path, good_file: Path) -> None:
    (tmp_path / name).write_bytes(good_file.read_bytes())
    with pytest.raises(WeightsError, match="may carry code.*eamfmeg convert"):
        load_network(tmp_path / name)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(LIMITS.max_weights_bytes + 1)
    for path, words in (
        (tmp_path / "pipe.safetensors", "no regular file"),
        (tmp_path / "folder.safetensors", "no regular file"),
        (Path("/dev/zero"), "no regular file"),
        (tmp_path / "absent.safetensors", "No such file"),
        (tmp_path / ("n" * 300 + ".safetensors"), "name too long"),
        ("a\0b.safetensors", "not a file name"),
        ("line\nbreak.safetensors", "No such file"),
        (huge, f"at most {LIMITS.max_weights_bytes}"),
    ):
        for reader in (load_network, inspect):
            if reader is inspect and path is huge:
                words = "a header of|of an unknown kind"
            with pytest.raises(WeightsError, match=words) as caught:
                reader(path)
            assert "\n" not in str(caught.value)
