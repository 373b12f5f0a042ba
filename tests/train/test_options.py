"""What a run is told, who takes which part of it, and when it ends."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import eamfmeg_fast.train
from eamfmeg_fast.cli.app import app
from eamfmeg_fast.config import PRESETS, NetworkConfig
from eamfmeg_fast.errors import BackendError, OptionError
from eamfmeg_fast.train import RECIPES, LossWeights, Stage, Trained, TrainOptions, delivery
from eamfmeg_fast.train.feed import Batch
from eamfmeg_fast.train.log import curve
from eamfmeg_fast.train.options import PARTS, check_options, recipe, signature
from eamfmeg_fast.train.ranks import Ranks, joined_ranks
from eamfmeg_fast.train.stopping import Stop

CPU = torch.device("cpu")


def test_every_recipe_is_whole_and_of_its_preset() -> None:
    assert {"small", "base"} <= set(RECIPES)
    for name, options in RECIPES.items():
        assert options.preset == name and options.out == Path("runs") / name
        assert options.steps >= 500 and options.config is None
        learned = {part for stage in options.stages for part in PARTS[stage.parts]}
        assert learned == {"front", "decoder"} or (learned == {"decoder"} and options.start_from in RECIPES)
        if name in PRESETS:
            check_options(options)
            assert recipe(options)["network"]["preset"] == name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "fomm"}, "lab's pixel grid"),
        ({"preset": "smal"}, "preset 'smal'"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"save_every": 0}, "save_every=0"),
        ({"minutes": -1.0}, "minutes=-1.0"),
        ({"minutes": float("nan")}, "minutes=nan"),
        ({"workers": -1}, "workers=-1"),
        ({"stages": (Stage(1, 1, 256, "back"),)}, "trains 'back'"),
        ({"stages": (Stage(0, 1, 256, "all"),)}, "0 steps"),
        ({"stages": (Stage(1, 1, 128, "all"),)}, "128 px; expected the network's 256"),
        ({"stages": (Stage(1, 1, 128, "decoder"),)}, "128 px; expected the network's 256"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_options(replace(TrainOptions(), **changes))


def test_the_signature_is_of_what_the_result_depends_on(tiny: NetworkConfig) -> None:
    plain = TrainOptions()
    own = signature(plain)
    same = {"out": Path("x"), "minutes": 3.0, "threads": 2, "workers": 0, "save_every": 7, "device": "cpu"}
    for name, value in (same | {"publish": False, "scales": False, "config": PRESETS["base"]}).items():
        assert signature(replace(plain, **{name: value})) == own, name
    other = {"seed": 2, "accumulate": 2, "picture_share": 0.2, "weights": LossWeights(edge=1.0), "config": tiny}
    for name, value in (other | {"stages": plain.stages[:2], "vgg19": Path("a/vgg.safetensors")}).items():
        assert signature(replace(plain, **{name: value})) != own, name
    assert signature(plain, "abc") != own


class _Numbers:
    """Stands for the feed: a batch that holds its number."""

    def __init__(self, options: TrainOptions, stage: Stage, offset: int, device: object) -> None:
        self.offset = offset

    def __getitem__(self, number: int) -> Batch:
        x = torch.full((1, 1, 1, 1), float(self.offset + number))
        return Batch(0, x, x, x, x, x, x, x, x)


def test_processes_share_out_the_same_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "Feed", _Numbers)
    options, stage = TrainOptions(accumulate=4, workers=0), Stage(3, 1, 128, "front")

    def numbers(rank: int, count: int, begin: int = 0, offset: int = 0) -> list[int]:
        batches = delivery.micro_batches(options, stage, offset, begin, Ranks(rank, count, CPU))
        return [int(batch.first) for batch in batches]

    assert numbers(0, 1) == list(range(12)) and numbers(0, 1, begin=2) == [8, 9, 10, 11]
    assert numbers(0, 2) == [0, 2, 4, 6, 8, 10] and numbers(1, 2) == [1, 3, 5, 7, 9, 11]
    assert sorted(n for rank in range(4) for n in numbers(rank, 4, begin=1)) == list(range(4, 12))
    assert numbers(0, 1, offset=3) == list(range(12, 24))
    assert delivery.share(4, Ranks(0, 2, CPU)) == 2
    with pytest.raises(OptionError, match="4 micro-batches a step for 3 processes.*multiple of 3"):
        delivery.share(4, Ranks(0, 3, CPU))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with joined_ranks("cpu") as ranks:
        assert ranks == Ranks(0, 1, CPU) and ranks.writes and not ranks.any(False) and ranks.any(True)
    with pytest.raises(OptionError, match="device 'tpu'"), joined_ranks("tpu"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with joined_ranks("auto") as ranks:
        assert ranks.device == CPU
    with pytest.raises(BackendError, match="device cuda"), joined_ranks("cuda"):
        pass


def test_a_second_signal_interrupts() -> None:
    with Stop(0.0) as stop:
        assert not stop.due
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.due and stop.told
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_clock_stops_and_other_threads_may_watch_it() -> None:
    assert Stop(1e-9).due and not Stop(0.0).due and not Stop(60.0).due
    seen: list[bool] = []

    def watch() -> None:
        with Stop(1e-9) as stop:
            seen.append(stop.due)

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [True]


def test_curves_are_means_of_stretches() -> None:
    rows = [{"step": float(i), "loss": float(i % 2)} | ({"late": 2.0} if i >= 6 else {}) for i in range(10)]
    assert curve(rows, points=5) == {
        "step": [0.5, 2.5, 4.5, 6.5, 8.5],
        "loss": [0.5] * 5,
        "late": [None, None, None, 2.0, 2.0],
    }
    assert curve([]) == {} and len(curve(rows, points=3)["loss"]) == 3


def test_the_command_line_starts_from_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[TrainOptions] = []

    def fake(options: TrainOptions, progress: object) -> Trained:
        told.append(options)
        return Trained(None, 0, options.steps, None)  # type: ignore[arg-type]

    monkeypatch.setattr(eamfmeg_fast.train, "run", fake)
    monkeypatch.setitem(RECIPES, "base", replace(RECIPES["base"], seed=5, accumulate=3))
    words = ["train", str(tmp_path), "--device", "cpu"]
    assert CliRunner().invoke(app, words).exit_code == 0
    more = ["--seed", "2", "--accumulate", "4", "--shorten", "0.1", "--start-from", "small", "--no-scales"]
    assert CliRunner().invoke(app, [*words, *more]).exit_code == 0
    plain, changed = told
    assert plain == replace(RECIPES["base"], out=tmp_path, device="cpu")
    assert (changed.seed, changed.accumulate, changed.start_from, changed.scales) == (2, 4, "small", False)
    assert [stage.steps for stage in changed.stages] == [round(s.steps * 0.1) for s in plain.stages]
