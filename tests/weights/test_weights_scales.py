"""Activation scales in a file's metadata: they come back, change no tensor, and hostile ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eamfmeg_fast.cli import run
from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.errors import WeightsError
from eamfmeg_fast.network import Network
from eamfmeg_fast.weights import StoredWeights, inspect, load_network, save_network, store_scales

NAMES = PRESETS["small"].residual_convolutions
SCALES = {name: 0.25 + i / 8 for i, name in enumerate(NAMES)}


def test_scales_come_back(network: Network, good_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "scaled.safetensors"
    info = save_network(network, path, activation_scales=SCALES)
    assert info.activation_scales == load_network(path)[1].activation_scales == StoredWeights(path).scales == SCALES
    plain = load_network(good_file)[1]
    assert plain.activation_scales is None and StoredWeights(good_file).scales is None
    assert plain.content_sha256 == info.content_sha256 and not inspect(path).problems
    assert inspect(path).scaled and not inspect(good_file).scaled
    assert "has activation scales, for precision int8" in inspect(path).lines()


def test_scales_are_put_into_a_file_and_nothing_else_changes(good_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(good_file.read_bytes())
    before = load_network(path)[1]
    after = store_scales(path, dict(reversed(SCALES.items())))
    assert after == load_network(path)[1] and after.activation_scales == SCALES
    assert (after.card, after.content_sha256, after.dtype) == (before.card, before.content_sha256, before.dtype)
    first = path.read_bytes()
    assert store_scales(path, SCALES).sha256 == after.sha256 and path.read_bytes() == first
    assert store_scales(path, SCALES | {NAMES[0]: 7.0}).activation_scales != SCALES
    assert [file.name for file in tmp_path.iterdir()] == ["file.safetensors"]


HOSTILE = {
    "no JSON": ("__import__('os')", "no JSON object"),
    "a list": ("[1]", "no JSON object"),
    "too deep": ('{"a":' * 9000, "no JSON object"),
    "too long": (json.dumps({str(i): 1.0 for i in range(9000)}), "characters of activation_scales"),
    "twice": (json.dumps(SCALES)[:-1] + f', "{NAMES[0]}": 1.0}}', "no JSON object"),
    "unknown": (json.dumps(SCALES | {"generator.final": 1.0}), r"generator\.final is unknown"),
    "line breaks": (json.dumps(SCALES | {"a\n\x1b[31mb": 1.0}), "is unknown"),
    "missing": (json.dumps(dict.fromkeys(NAMES[1:], 1.0)), rf"{NAMES[0]} is missing"),
    "empty": ("{}", "is missing"),
} | {
    f"value {text}": (json.dumps(SCALES).replace("0.25,", f"{text},"), rf"{NAMES[0]} is .*finite number above zero")
    for text in ("0", "-1.0", "NaN", "Infinity", "1e-40", "1e300", "true", '"1"', "null", "[1]", "9" * 400)
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_scales_are_refused(kind: str, mutated: Callable[..., Path]) -> None:
    text, words = HOSTILE[kind]
    path = mutated(lambda fields, data: fields["__metadata__"].update(activation_scales=text))
    with pytest.raises(WeightsError, match=words) as caught:
        load_network(path)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 600
    assert not inspect(path).usable


@pytest.mark.parametrize("scales", [{}, {NAMES[0]: 1.0}, SCALES | {NAMES[2]: 0.0}, SCALES | {NAMES[2]: float("nan")}])
def test_bad_scales_are_not_written(
    scales: dict[str, float], network: Network, good_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="activation_scales"):
        save_network(network, tmp_path / "x.safetensors", activation_scales=scales)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(good_file.read_bytes())
    with pytest.raises(WeightsError, match="activation_scales"):
        store_scales(copy, scales)
    assert copy.read_bytes() == good_file.read_bytes() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_the_command_measures_and_stores(good_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(good_file.read_bytes())
    assert run(["calibrate", str(path), "--people", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["activation_scales"]) == list(NAMES) and said["activation_scales"] == StoredWeights(path).scales
    assert said["sha256"] == load_network(path)[1].sha256
    assert run(["calibrate", str(path), "--people", "0"]) == 2
    assert run(["calibrate", str(tmp_path / "absent.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
