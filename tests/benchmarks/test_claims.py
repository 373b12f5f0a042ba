"""The experiment on the published claims: variants alike, runs that are kept, verdicts, and the text that is shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import claims_code
import claims_table as table
import pytest
import torch

from eamfmeg_fast.network import build_network

SMALL = claims.Settings(steps=2, batch=2, pairs=2, people=1)


@pytest.mark.parametrize("losses", table.LOSSES)
def test_the_readme_shows_the_claims(root: Path, losses: str) -> None:
    begin, end = table.marks(losses)
    page = (root / "benchmarks/README.md").read_text()
    made = page.split(begin)[1].split(end)[0].strip()
    path = table.results(losses)
    result = json.loads(path.read_text()) if path.exists() else None
    assert result is None or result["settings"]["losses"] == losses
    assert made == ("" if result is None else table.text(result))
    front = (root / "README.md").read_text()
    if begin in front:
        assert front.split(begin)[1].split(end)[0].strip() == table.headline(result)
    assert result is None or table.figure(losses).read_text() == table.plot(result)


def test_variants_differ_in_what_they_are_named_for_and_in_nothing_else() -> None:
    assert set(claims.VARIANTS) == set(table.NAMES)
    plain = claims.VARIANTS["plain"]
    assert not plain.edge and plain.attention is None and plain.map_size == 32
    for config in claims.VARIANTS.values():
        assert replace(config, edge=False, attention=None) == plain
        # Networks are compared, not what is done to their flow and their blend afterwards.
        assert config.still_px == 0 and not config.relative_occlusion


def test_shared_parts_begin_alike() -> None:
    first: dict[str, torch.Tensor] = {}
    for config in claims.VARIANTS.values():
        torch.manual_seed(5)
        state = build_network(config).state_dict()
        first = first or state
        assert first.keys() <= state.keys()
        assert all(torch.equal(first[name], state[name]) for name in first)


def test_pictures_are_kept_as_they_were_rendered(tmp_path: Path) -> None:
    kept = claims.Kept(tmp_path, 3, SMALL)
    raw, once, again = kept.feed[1], kept[1], claims.Kept(tmp_path, 3, SMALL)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["000001.safetensors"]
    assert once.faces == raw.faces == again.faces
    for name in ("first", "second", "displacement_px", "first_edges", "valid"):
        assert torch.equal(getattr(once, name), getattr(again, name)), name
    assert (raw.first - once.first).abs().max() <= 0.5 / 255 + 1e-6 and once.first_edges.shape[-1] == 32
    assert torch.allclose(raw.displacement_px, once.displacement_px, rtol=1e-3, atol=1e-4)
    assert torch.equal(raw.second_landmarks_px, once.second_landmarks_px)
    assert not torch.equal(claims.Kept(tmp_path / "other", 4, SMALL)[1].first, once.first)


def test_a_run_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    names = {id(config): name for name, config in claims.VARIANTS.items()}

    def train(config: Any, seed: int, *rest: Any) -> tuple[Any, dict[str, float]]:
        asked.append((names[id(config)], seed))
        return build_network(config), {"loss": 1.0}

    monkeypatch.setattr(claims, "train", train)
    monkeypatch.setattr(claims, "held_out_losses", lambda network, pairs: {"reconstruction": 2.0})
    monkeypatch.setattr(claims, "score_lab", lambda retargeter, people: [])
    monkeypatch.setattr(claims, "summary", lambda scores: {"edge_f": float("nan")})
    rows = list(claims.all_runs(2, SMALL, tmp_path, processes=1))
    assert asked == [(variant, seed) for seed in (1, 2) for variant in claims.VARIANTS]
    assert rows[0]["figures"] == {"reconstruction": 2.0, "edge_f": None}
    assert list(claims.all_runs(2, SMALL, tmp_path, processes=1)) == rows and len(asked) == 8
    # Time that is over begins nothing, and loses nothing.
    assert list(claims.all_runs(3, SMALL, tmp_path, minutes=-1, processes=1)) == rows and len(asked) == 8
    list(claims.all_runs(1, replace(SMALL, steps=3), tmp_path, processes=1))
    assert len(asked) == 12


def test_a_row_names_the_code_that_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever commits while a run goes on does not change what it was made by."""
    now = ["before"]

    def train(config: Any, *rest: Any) -> tuple[Any, dict[str, float]]:
        now[0] = "after"
        return build_network(config), {}

    monkeypatch.setattr(claims, "train", train)
    monkeypatch.setattr(claims, "commit", lambda: now[0])
    monkeypatch.setattr(claims, "held_out_losses", lambda network, pairs: {})
    monkeypatch.setattr(claims, "score_lab", lambda retargeter, people: [])
    monkeypatch.setattr(claims, "summary", lambda scores: {})
    assert claims.one_run("plain", 1, SMALL, tmp_path)["commit"] == "before"


def test_other_code_is_another_state(root: Path, tmp_path: Path) -> None:
    """Every source that a row depends on is in the key, and only what draws them in that of the pictures."""
    for path in {path for pattern in claims_code.RUNS for path in root.glob(pattern)}:
        copied = tmp_path / path.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    keys = [claims_code.RUNS, claims_code.PICTURES]

    def found() -> list[str]:
        claims_code.version.cache_clear()
        return [claims_code.version(patterns, tmp_path) for patterns in keys]

    before = found()
    assert before == [claims_code.version(patterns) for patterns in keys]
    package = tmp_path / "eamfmeg_fast"
    for path, both in (
        (package / "network/stillness.py", False), (package / "train/losses.py", False),
        (package / "train/objective.py", False), (package / "evaluate/lab.py", False),
        (package / "config.py", False), (package / "train/feed.py", True), (package / "lab/motion.py", True),
    ):  # fmt: skip
        kept = path.read_text()
        path.write_text(kept + "\n")
        assert [a != b for a, b in zip(before, found(), strict=True)] == [True, both], path
        path.write_text(kept)
    assert found() == before
    with pytest.raises(ValueError, match="names no file"):
        claims_code.version(("nothing/*.py",), tmp_path)


@pytest.mark.slow
def test_a_short_run_trains_and_is_scored(tmp_path: Path) -> None:
    row = claims.one_run("edge-query", 1, SMALL, tmp_path)
    assert row["variant"] == "edge-query" and {"edge", "reconstruction", "motion"} <= row["training"].keys()
    assert {*table.FIGURES} <= row["figures"].keys()
    assert all(row["figures"][name] > 0 for name in ("reconstruction", "equivariance_value", "equivariance_jacobian"))


def test_equal_seeds_give_equal_networks(tmp_path: Path) -> None:
    kept = claims.Kept(tmp_path, 1, SMALL)
    one, two = (claims.train(claims.VARIANTS["plain"], 1, SMALL, kept) for _ in range(2))
    assert one[1] == two[1] and "edge" not in one[1]
    assert all(torch.equal(a, b) for a, b in zip(one[0].state_dict().values(), two[0].state_dict().values()))
    fresh = build_network(claims.VARIANTS["plain"]).state_dict()
    assert not torch.equal(fresh["generator.final.weight"], one[0].state_dict()["generator.final.weight"])


def test_the_published_losses_leave_out_what_only_a_lab_knows() -> None:
    kept = {name for name, weight in vars(claims.LOSSES["published"]).items() if weight} - {"things"}
    assert kept == {"reconstruction", "equivariance_value", "equivariance_jacobian", "edge"}


def rows(**values: list[float]) -> dict[str, Any]:
    """A result in which a variant's reconstruction and equivariance are these, seed by seed."""
    made = [
        {"variant": variant, "seed": seed, "commit": "abc", "figures": dict.fromkeys(table.FIGURES, value)}
        for variant, column in values.items()
        for seed, value in enumerate(column, 1)
    ]
    head = {"wanted": 3, "settings": {"steps": 9, "batch": 8, "losses": "lab"}}
    return head | {"rows": made}


@pytest.mark.parametrize(
    ("aep", "word"),
    [
        ([0.9, 1.8, 2.7], "reproduced"),
        ([1.1, 2.2, 3.3], "refuted"),
        ([0.9, 2.2, 2.9], "undecided"),
        ([0.9], "undecided"),
        ([], "not run"),
    ],
)
def test_a_verdict_is_what_the_interval_says(aep: list[float], word: str) -> None:
    found, _ = table.verdict(rows(plain=[1.0, 2.0, 3.0], aep=aep), table.CLAIMS[0])
    assert found == word


def test_differences_are_paired_by_seed() -> None:
    """Seeds that differ more from each other than variants do still decide; another order would not."""
    _, found = table.verdict(rows(plain=[1.0, 2.0, 3.0], aep=[0.9, 1.8, 2.7]), table.CLAIMS[0])
    assert found is not None and found.mean == pytest.approx(-10) and found.high == pytest.approx(-10)
    assert table.verdict(rows(plain=[1.0, 2.0, 3.0], aep=[1.8, 2.7, 0.9]), table.CLAIMS[0])[0] == "undecided"


def test_intervals_are_student_s() -> None:
    found = table.interval([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.high - 2 == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert math.isinf(table.interval([1.0]).high)
    with pytest.raises(ValueError, match="0 seeds"):
        table.interval([])


def test_the_text_and_the_figure_say_what_is_missing() -> None:
    result = rows(plain=[1.0, 2.0, 3.0], aep=[0.9, 1.8, 2.7], released=[0.5])
    text = table.text(result)
    assert "7 of 12 runs are in" in text and '"AEP lowers the reconstruction loss": **reproduced**' in text
    assert "**undecided**: -44.4 % (one seed)." in text and "(-10.0 to -10.0)" in text
    assert text.count("**not run**") == 2 and text.count("**undecided**") == 2
    assert "| reconstruction loss | 2.00 ± 2.48 | 1.80 ± 2.24 | 0.500 | - |" in text
    picture = table.plot(result)
    assert picture.startswith("<svg") and picture.count('opacity="0.4"') == 7 * 4 and "nan" not in picture
    full = rows(**{name: [1.0, 2.0, 3.0] for name in table.NAMES})
    assert "runs are in" not in table.text(full)


@pytest.mark.parametrize("losses", table.LOSSES)
def test_the_marks_are_filled_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: str) -> None:
    page, front = tmp_path / "bench.md", tmp_path / "front.md"
    lines = {name: "\n".join([table.marks(name)[0], "old", table.marks(name)[1]]) for name in table.LOSSES}
    page.write_text("before\n" + "\n".join(lines.values()) + "\nafter\n")
    front.write_text("no marks\n")
    for name, path in (("README", page), ("FRONT_PAGE", front), ("RESULTS", tmp_path)):
        monkeypatch.setattr(table, name, path)
    result = rows(plain=[1.0, 2.0], aep=[0.9, 1.9])
    result["settings"]["losses"] = losses
    table.write(result)
    begin, end = table.marks(losses)
    lines[losses] = f"{begin}\n{table.text(result)}\n{end}"
    assert page.read_text() == "before\n" + "\n".join(lines.values()) + "\nafter\n"
    assert front.read_text() == "no marks\n" and table.figure(losses).read_text() == table.plot(result)
    assert [path.name for path in tmp_path.glob("*.svg")] == [f"claims{table.LOSSES[losses]}.svg"]
    assert f"results/claims{table.LOSSES[losses]}.svg" in table.text(result)


def test_every_set_of_losses_has_a_place() -> None:
    assert set(table.LOSSES) == set(claims.LOSSES)
    assert len({table.results(losses) for losses in table.LOSSES}) == len(table.LOSSES)
