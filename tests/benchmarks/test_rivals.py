"""The rivals draw what the reference draws, and the tables say what the results say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import contest
import engine
import engine_table
import facts
import growth
import numpy as np
import pytest
import torch
import variants
from baselines import RIVALS, YARDSTICK, graph
from baselines.kit import MAKERS, Kit, make_inputs, picture, resized

from eamfmeg_fast.config import preset
from eamfmeg_fast.evaluate.scene import Scene, accuracy, load_truth, truth_of
from eamfmeg_fast.network import Network, build_network, fill_seeded

SIZE = 128
_TINY = {"generator_expansion": 8, "generator_max_features": 32, "residual_blocks": 2, "size": SIZE}


def tiny(name: str) -> Network:
    """A preset with thin layers and seeded weights."""
    config = preset(name)
    thin = {
        part: replace(getattr(config, part), block_expansion=8, max_features=32)
        for part in ("keypoint", "dense_motion")
    }
    return fill_seeded(build_network(replace(config, **_TINY, **thin)))


def scene() -> Scene:
    rng = np.random.default_rng(7)
    coarse = torch.from_numpy(rng.uniform(0, 255, (2, 3, 9, 9)))
    target, first = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(0, 255)
    frames = [torch.roll(first, (shift, -shift), (1, 2)) for shift in (0, 1, 2, 3)]
    stack = torch.stack([target, *frames]).byte().permute(0, 2, 3, 1).numpy()
    return Scene(stack[0].copy(), stack[1:].copy())


class ThinKit(Kit):
    """A kit of a thin network, without what is exported."""

    def network(self) -> Network:
        return tiny(self.spec)


@pytest.fixture(scope="module", params=["small", "eamfmeg"])
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = ThinKit(tmp_path_factory.mktemp(request.param), request.param)
    scene().save(kit.path("scene.npz"))
    make_inputs(kit)
    truth_of(kit.network(), kit.scene(), 2).save(kit.path("truth.npz"))
    return kit


def distance(kit: Kit, name: str) -> Any:
    call, truth, frames = RIVALS[name].build(kit, 1), load_truth(kit.path("truth.npz")), kit.frames()
    drawn = [tuple(np.array(x[0]) for x in call(picture(frames[number]))) for number in truth.numbers]
    return accuracy(truth, [p for p, _ in drawn], [kp for _, kp in drawn])


def test_eager_rivals_draw_what_float64_draws(kit: Kit) -> None:
    for name in (YARDSTICK, "torch upstream loop", "torch eager channels_last"):
        found = distance(kit, name)
        assert found.float_psnr_db > 90 and found.off_by_more == 0 and found.keypoint_shift_px < 1e-3, name
    found = distance(kit, "torch bf16 autocast")
    assert 15 < found.float_psnr_db < 90 and found.keypoint_shift_px > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, rival in RIVALS.items() if rival.artefacts])
def test_exported_rivals_draw_what_float64_draws(kit: Kit, name: str) -> None:
    rival = RIVALS[name]
    if missing := rival.missing():
        pytest.skip(f"NOT RUN: {', '.join(missing)} not installed")
    if "int8" in name and kit.spec == "small":
        pytest.skip("quantising takes long, and is shown with the other network")
    for artefact in rival.artefacts:
        if not kit.path(artefact).exists():
            MAKERS[artefact](kit)
    found = distance(kit, name)
    exact = name.endswith("fp32") and not (name.startswith("MNN") and kit.spec == "small")
    assert found.float_psnr_db > (80 if exact else 15)
    assert found.keypoint_shift_px < (0.02 if "fp32" in name else 8)


def test_the_graph_s_inputs_are_all_used_and_named(kit: Kit) -> None:
    names = list(kit.inputs())
    assert names == [*kit.inputs("front"), *kit.inputs("back")]
    assert tuple(names) == (*graph.FRONT, *graph.back_inputs(kit.network()))


def test_a_missing_package_is_a_row_and_no_crash(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RIVALS, "nowhere", replace(RIVALS["MNN fp32"], needs=("no_such_package",)))
    found = contest.enter(kit, ["nowhere"], 1, end=0.0)
    assert found.failed == {"nowhere": "not installed: no_such_package"} and not found.contestants


def test_another_size_has_the_same_weights() -> None:
    network = tiny("small")
    larger = resized(network, 256)
    assert larger.config.size == 256
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), larger.state_dict().values()))


def test_networks_come_with_their_minutes() -> None:
    assert engine.wanted("fomm@512=9.5,small") == {"fomm@512": 9.5, "small": engine._MINUTES}


def test_what_ratios_need_is_opened_first_and_what_compiles_last() -> None:
    names = engine.chosen("")
    assert names[0] == YARDSTICK and set(RIVALS) < set(names)
    assert [name for name in names if "compile" in name] == names[-2:]
    some = engine.chosen("OpenVINO bf16,reference/")
    assert some == [YARDSTICK, "eamfmeg_fast reference/fp32", "OpenVINO bf16"]


@pytest.mark.parametrize(
    "shape",
    [
        variants.Shape("cpu/bf16"),
        variants.Shape("cpu/bf16", batch=4),
        variants.Shape("reference/fp32", targets=16),
        variants.Shape("x/int8", 8, 2),
    ],
)
def test_a_variant_s_name_says_how_it_is_used(shape: variants.Shape) -> None:
    assert variants.shape_of(shape.name) == shape


def test_curves_meet_in_the_base() -> None:
    found = list(growth.points(["a/b"], 256, [128, 256], [1, 2], [1, 4]))
    assert [(point.curve, point.value, point.size) for point in found] == [
        ("size", 128, 128), ("size", 256, 256), ("batch", 1, 256), ("batch", 2, 256), ("targets", 1, 256),
        ("targets", 4, 256),
    ]  # fmt: skip
    assert len({point.shape.name for point in found if point.size == 256}) == 3


def example() -> dict[str, Any]:
    """A result with a row of ours, one without latencies and a failure."""
    row = {"p20_ms": 9.0, "p50_ms": 10.0, "p80_ms": 11.0, "ratio": 2.0, "ratio_lo_hi": [1.9, 2.1], "quiet": True}
    row |= {"first_frame_ms": 12.0, "start_s": 1.0, "psnr_db": 40.25, "keypoint_shift_px": 0.001}
    row |= {"float_psnr_db": None, "latency": {"p95_ms": 12.0, "p99_ms": 13.0, "frames": 40}, "peak_mb": 100.0}
    other = {**row, "p50_ms": 20.0, "ratio": 1.0, "ratio_lo_hi": [1.0, 1.0], "quiet": False, "float_psnr_db": 125.0}
    other |= {"psnr_db": 120.0}
    del other["latency"], other["peak_mb"]
    network = {
        "threads": 2,
        "commit": "abc",
        "date": "2026-01-01",
        "yardstick": "slow <one>",
        "clip": "folder/of mine/a.gif",
        "versions": {"torch": "2.0"},
        "failed": {"gone": "why"},
    }
    network["rows"] = {"eamfmeg_fast cpu/bf16": row, "slow <one>": other}
    return {"machine": {"processor": "P", "family": "1", "model": "2"}, "networks": {"fomm": network}}


def test_the_table_shows_ratios_and_accuracy() -> None:
    text = engine_table.table(example())
    assert "| **eamfmeg_fast cpu/bf16** | 10.0 (9.0 - 11.0) | 2.00 (1.90 - 2.10) | 12.0, 13.0 |" in text
    assert "20.0* (9.0" in text and "equal (125.0)" in text and "gone: why." in text and "never measured alone" in text
    assert "2026-01-01, clip `a.gif`, p95 and p99 of 40 frames:" in text and "folder" not in text
    assert "Measured with torch 2.0." in text
    picture_text = engine_table.plot(example())
    assert "slow &lt;one&gt;" in picture_text and picture_text.count("<rect") == 3


def test_only_what_is_between_the_marks_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_table, "RESULTS", tmp_path)
    monkeypatch.setattr(engine_table, "README", tmp_path / "README.md")
    monkeypatch.setattr(engine_table, "FRONT_PAGE", tmp_path / "FRONT.md")
    marks = f"{engine_table.BEGIN}\nold\n{engine_table.END}"
    for page in (engine_table.README, engine_table.FRONT_PAGE):
        page.write_text(f"before\n{marks}\nafter\n")
    for _ in range(2):
        engine_table.write_readme(example())
    text = engine_table.README.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    front = engine_table.FRONT_PAGE.read_text()
    assert "| `fomm` | **eamfmeg_fast cpu/bf16** | 10.0 | 100.0 | 40.2 |" in front and "slow" not in front
    assert text.count("cpu/bf16") == 1 and (tmp_path / "engine.svg").read_text().startswith("<svg")


def test_the_front_page_names_rivals_that_there_are() -> None:
    assert set(engine_table._HEADLINE) <= set(RIVALS)
    assert {name for name in RIVALS if "bf16" in name} <= set(engine_table._HEADLINE)


def test_each_network_keeps_the_versions_of_its_packages(tmp_path: Path) -> None:
    old = {
        "machine": {"cores": 2, "versions": {"torch": "1"}},
        "networks": {"a": {}, "b": {"versions": {"torch": "0"}}},
    }
    path = tmp_path / "results.json"
    path.write_text(json.dumps(old))
    found = engine.kept(path)
    assert found["networks"] == {"a": {"versions": {"torch": "1"}}, "b": {"versions": {"torch": "0"}}}
    assert found["machine"] == {"cores": 2} and engine.kept(tmp_path / "none.json") == {"networks": {}}


def test_other_contents_are_another_kit(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("clip.gif", "face.png", "own.safetensors")]
    keys = []
    for changed in (None, *paths):
        for path in paths:
            path.write_bytes(b"new" if path == changed else b"old")
        keys.append(engine.key_of(contest.Clip(4, *paths[:2]), str(paths[2])))
    assert len(set(keys)) == 4 and keys[0] != engine.key_of(contest.Clip(5, *paths[:2]), str(paths[2]))
    elsewhere = tmp_path / "moved.gif"
    elsewhere.write_bytes(b"old")
    paths[2].write_bytes(b"old")
    assert engine.key_of(contest.Clip(4, elsewhere, paths[1]), str(paths[2])) == keys[0]
    made_by = [path.as_posix() for path in engine._made_by()]
    assert any(path.endswith("warp_occlude/reference.py") for path in made_by)
    assert any(path.endswith(".safetensors") for path in made_by)


def test_a_variant_reads_one_frame_of_the_clip(kit: Kit) -> None:
    whole = kit.scene()
    assert np.array_equal(kit.first(), whole.frames[0]) and np.array_equal(kit.target(), whole.target)


def test_two_machines_beside_each_other() -> None:
    here, there = example(), example()
    there["networks"]["fomm"]["rows"]["eamfmeg_fast cpu/bf16"]["ratio"] = 1.5
    lines = engine_table.beside(here, there).splitlines()
    assert "+33%  <- differs" in lines[1] and "differs" not in lines[2]


def test_the_readme_shows_the_results(root: Path) -> None:
    """The tables are those of the newest results; without any, there are none."""
    text = (root / "benchmarks/README.md").read_text()
    made = text.split(engine_table.BEGIN)[1].split(engine_table.END)[0].strip()
    results = [json.loads(path.read_text()) for path in (root / "benchmarks/results").glob("engine-*.json")]
    assert made in [engine_table.shown(result) for result in results] or not (made or results)
    front = (root / "README.md").read_text().split(engine_table.BEGIN)[1].split(engine_table.END)[0].strip()
    assert front in [engine_table.headline(result) for result in results] or not (front or results)
    made = text.split(growth.BEGIN)[1].split(growth.END)[0].strip()
    results = [json.loads(path.read_text()) for path in (root / "benchmarks/results").glob("growth-*.json")]
    assert made in [growth.table(result) for result in results] or not (made or results)


def test_a_machine_has_a_name_for_files() -> None:
    name = facts.slug({"processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "family": "6", "model": "85", "cores": 2})
    assert name == "intel-xeon-cpu-6-85-x2"
    assert facts.machine()["cores"] >= 1 and facts.slug(facts.machine())
