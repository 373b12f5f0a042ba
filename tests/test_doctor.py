"""The doctor says what is there, what is not, what that costs and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eamfmeg_fast import doctor
from eamfmeg_fast.doctor import Finding, examine


@pytest.fixture(scope="module")
def report() -> dict[str, Finding]:
    findings = examine()
    by_name = {finding.name: finding for finding in findings}
    assert len(by_name) == len(findings)
    return by_name


def test_every_part_is_looked_at(report: dict[str, Finding]) -> None:
    wanted = {"python", "torch", "compiled CPU library", "CUDA", "compiled CUDA library", "triton", "CPU instructions"}
    wanted |= {"engine", "video", "face cascade", "extra demo", "extra train", "extra export", "extra trt"}
    assert wanted <= set(report)


def test_every_finding_is_whole(report: dict[str, Finding]) -> None:
    for finding in report.values():
        assert finding.status in ("ok", "missing", "optional") and finding.detail
        assert bool(finding.fix) == (finding.status != "ok"), finding
        assert not finding.fix or finding.fix[-1] == "."


def test_the_core_works_here(report: dict[str, Finding]) -> None:
    assert not [finding for finding in report.values() if finding.status == "missing"]


def test_without_the_compiled_library_it_says_what_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "why_missing", lambda name: f"{name} was not built")
    finding = {finding.name: finding for finding in examine()}["compiled CPU library"]
    assert finding.status == "optional" and "slower" in finding.detail and "compiler" in finding.fix


def _weights(folder: Path, content: bytes) -> Path:
    (folder / "pretrained").mkdir()
    path = folder / "pretrained" / "small.safetensors"
    path.write_bytes(content)
    return path


def test_weights_are_named_with_preset_and_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    head = json.dumps({"__metadata__": {"preset": "small"}}).encode()
    _weights(tmp_path, len(head).to_bytes(8, "little") + head)
    monkeypatch.setattr(doctor, "_PACKAGE", tmp_path)
    (finding,) = doctor._weights()
    assert finding.status == "ok" and "preset small" in finding.detail and "sha256 " in finding.detail


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 64, (1 << 62).to_bytes(8, "little") + b"{", (2).to_bytes(8, "little") + b"[]"]
)
def test_damaged_weights_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    _weights(tmp_path, content)
    monkeypatch.setattr(doctor, "_PACKAGE", tmp_path)
    (finding,) = doctor._weights()
    assert finding.status == "missing"


def test_without_x264_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    (finding,) = doctor._codec()
    assert finding.status == "missing" and "libx264" in finding.detail
