"""What the figures of `eamfmeg eval lab` are called for people, and what is wanted of them."""

from __future__ import annotations

from dataclasses import dataclass

from eamfmeg_fast.evaluate.lab import LabScore, summary


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        words: for people. unit: "dB", "px", "frames", "%" (of a share) or "". goal: in words, "" without one.
    """

    words: str
    unit: str = ""
    goal: str = ""

    def show(self, value: float) -> str:
        """A value in this figure's unit, "-" where nothing was measured."""
        if value != value:
            return "-"
        if self.unit == "%":
            return f"{100 * value:.0f} %"
        digits = {"dB": 1, "px": 3}.get(self.unit, 2)
        return f"{value:.{digits}f} {self.unit}".rstrip()


FIGURES: dict[str, Figure] = {
    "psnr": Figure("whole picture", "dB"),
    "psnr_moving": Figure("where it moves", "dB"),
    "psnr_still": Figure("  the unmoved target there", "dB"),
    "end_point_error_px": Figure("end-point error, moving", "px"),
    "motion_px": Figure("  true motion there", "px"),
    "error_share": Figure("  share of the true motion", "%", "25 % or less"),
    "still_error_px": Figure("end-point error, still", "px"),
    "intensity_corr": Figure("intensity: correlation"),
    "intensity_gain": Figure("intensity: gain", "", "1"),
    "apex_error_frames": Figure("apex off, at 200 fps", "frames", "1 or less"),
    "edge_f": Figure("edges: F-score"),
    "edge_chance": Figure("  against another person's"),
    "cross_likeness": Figure("other person: likeness of motion"),
    "cross_strength": Figure("other person: strength", "", "1"),
    "identity_ssim": Figure("other person: own texture (SSIM)", "", "1"),
    "identity_colour": Figure("other person: driver's colours", "%", "0 %"),
    "jitter_px": Figure("keypoint jitter on a still clip", "px", "0.05 px or less"),
    "jitter_processed_px": Figure("  of what is drawn there", "px", "0.05 px or less"),
}


def lines(scores: list[LabScore]) -> list[str]:
    """The table for people: the mean over clips, the least, the most, and the goal."""
    mean, rows = summary(scores), [score.to_dict() for score in scores]
    out = [f"{'':<34}{'mean':>14}{'least':>14}{'most':>14}   goal"]
    for name, figure in FIGURES.items():
        known = [row[name] for row in rows if row[name] == row[name]] or [float("nan")]
        values = "".join(f"{figure.show(value):>14}" for value in (mean[name], min(known), max(known)))
        out.append(f"{figure.words:<34}{values}   {figure.goal}".rstrip())
    return out
