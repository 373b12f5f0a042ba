"""The page of model cards is what the shipped files say of themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cards
import pytest

from eamfmeg_fast.config import PRESETS
from eamfmeg_fast.train import TrainOptions
from eamfmeg_fast.train.card import Account, model_card
from eamfmeg_fast.weights import WeightsInfo

_AGAIN = "run `make figures` and commit the page"


@pytest.fixture
def info(tmp_path: Path) -> WeightsInfo:
    path = tmp_path / "small.safetensors"
    path.write_bytes(bytes(2_500_000))
    account = Account(4200, 4900, 5400.0, 40_000, "2 CPU cores", "a fixed pyramid")
    card = model_card(TrainOptions(), account)
    return WeightsInfo("small", path, "f" * 64, "c" * 64, card, 3_900_000, "F16", "0.1.0", activation_scales={"a": 1.0})


def _scores(noise: bool, content: str = "c" * 64, **mean: Any) -> dict[str, Any]:
    return {
        "noise": noise, "clips": 32, "seed": 0, "commit": "abc1234", "plan": "cpu/bf16", "machine": "A, 2 cores",
        "content_sha256": content, "mean": mean,
    }  # fmt: skip


def test_the_page_is_what_the_shipped_files_say() -> None:
    assert cards.PAGE.read_text() == cards.page(cards.shipped(), cards.kept_scores()), _AGAIN


def test_a_section_says_everything_of_the_card(info: WeightsInfo) -> None:
    text = cards.section(info, [])
    for key in ("limits", "intended_use", "misuse", "trained_on", "held_out", "machine", "patent", "licence"):
        assert info.card[key] in text
    for words in ("f" * 64, "c" * 64, "2.5 MB", "3.90 M", "4200 of the recipe's 4900", "1.5 on 2 CPU cores", "MIT"):
        assert words in text
    stages = [line for line in text.splitlines() if line.startswith(("| front |", "| decoder |", "| all |"))]
    assert len(stages) == len(info.card["stages"])
    assert f"{PRESETS['small'].num_kp} keypoints" in text and "None are kept for these very tensors" in text


def test_scores_are_the_latest_of_these_tensors(info: WeightsInfo) -> None:
    rows = [_scores(True, error_share=0.9), _scores(True, error_share=0.31, motion_px=1.25)]
    rows += [_scores(False, error_share=0.25), _scores(False, content="d" * 64, error_share=0.77)]
    text = cards.section(info, rows)
    (line,) = [line for line in text.splitlines() if "share of the true motion" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == ["31 %", "25 %", "25 % or less"]
    assert "| ... true motion there | 1.250 px | - |  |" in text
    assert "whole picture" not in text and "77 %" not in text and "abc1234" in text
    assert "with camera noise, 32 people" in text


def test_a_card_that_lacks_something_is_refused(info: WeightsInfo) -> None:
    short = {key: value for key, value in info.card.items() if key != "limits"}
    with pytest.raises(ValueError, match="lacks limits"):
        cards.section(replace(info, card=short), [])


def test_the_limits_speak_of_what_the_issue_asks_for(info: WeightsInfo) -> None:
    limits = info.card["limits"]
    for word in ("frontal", "never seen a real face", "teeth", "Gaze", "profiles", "15 degrees", "glasses", "beards"):
        assert word in limits
