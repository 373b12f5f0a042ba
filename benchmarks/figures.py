"""`make figures`: the contact sheet, the failure gallery and the curves of the README, from the shipped weights.

They show people of the lab who were held out, and scikit-image's astronaut. The same weights give the same bytes on the
same machine. `results/figures.json` says which weights and has the hash of every file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from failures import Row, gallery
from PIL import Image

from eamfmeg_fast.config import DEFAULT_WEIGHTS
from eamfmeg_fast.demo.run import portrait
from eamfmeg_fast.demo.sheet import Phase, contact_sheet
from eamfmeg_fast.evaluate.curves import curves_svg
from eamfmeg_fast.evaluate.flow_cells import CellMotion, grey_thumbnail
from eamfmeg_fast.evaluate.regions import RegionCurves, find_regions
from eamfmeg_fast.lab import HELD_OUT_SEEDS, LabClip, lab_clip
from eamfmeg_fast.media.mark import xmp_packet
from eamfmeg_fast.provenance import Mark
from eamfmeg_fast.retargeter import Retargeter

RESULTS = Path(__file__).parent / "results"
FACTS, SHEET, FAILED, MOTION = "figures.json", "sheet.jpg", "failures.jpg", "motion.svg"
MOST_BYTES = 400_000
_PANEL, _QUALITY = 148, 82
_TITLE = "One person of the lab drives another, {fps:g} frames/s (weights: {weights})"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"

Picture = np.ndarray[Any, Any]


def sheet(retargeter: Retargeter, driver: LabClip) -> Image.Image:
    """The astronaut repeats `driver` from onset to offset, then a blink, then a smile."""
    target = retargeter.open_target(portrait(), "auto")
    ends = {"onset": driver.onset, "apex": driver.apex, "offset": min(driver.offset, len(driver.frames) - 1)}
    phases = [_phase(name, driver, index) for name, index in ends.items()]
    for name, clip in (("blink", _film(9, 2, {45: 1.0})), ("smile", _film(17, 18, {6: 0.7, 12: 1.1}))):
        phases.append(_phase(name, clip, clip.apex))
    return contact_sheet(retargeter, target, phases, panel=_PANEL)


def motion(retargeter: Retargeter, driver: LabClip) -> str:
    """Displacement over time in `driver` and in another held-out person who repeats it."""
    target = _film(17, 18, {}).frames[0].numpy()
    frames = list(driver.frames.numpy())
    regions, cells = None, []
    for drawn in retargeter(target, frames, crop="none", fps=driver.fps):
        pair = frames[drawn.index], drawn.image
        grey = [grey_thumbnail(picture) for picture in pair]
        if regions is None:
            faces = [find_regions(retargeter.engine.detect(picture).kp[0].cpu().numpy()) for picture in pair]
            regions, cells = RegionCurves(faces[0], faces[1]), [CellMotion(picture) for picture in grey]
        regions.step(*(motion.step(picture) for motion, picture in zip(cells, grey, strict=True)))
    if regions is None:
        raise SystemExit("The driving clip gave no frame.")
    return curves_svg(regions.curves(), _TITLE.format(fps=float(driver.fps), weights=DEFAULT_WEIGHTS))


def jpeg(image: Image.Image, mark: Mark) -> bytes:
    """A JPEG that states in XMP that a trained model made it."""
    packet = _XMP + xmp_packet(mark.to_json()).encode()
    segment = b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True, extra=segment)
    return out.getvalue()


def facts(weights: str, content_sha256: str, files: dict[str, bytes], rows: list[Row]) -> dict[str, Any]:
    """What the figures are of."""
    return {
        "weights": weights,
        "content_sha256": content_sha256,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "failures": {row.failure.name: asdict(row.failure) | {"left": round(row.left, 3)} for row in rows},
    }


def main() -> None:
    """Draw everything into the folder of results."""
    parser = argparse.ArgumentParser(description="Draw the figures of the README from the shipped weights.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    retargeter = Retargeter.from_pretrained(DEFAULT_WEIGHTS, device="cpu", precision="fp32")
    mark = Mark("", "", retargeter.weights_sha256, {"made_by": "benchmarks/figures.py"})
    driver = _film(3, 5, {1: 0.9, 2: 0.9, 12: 1.0}, fps=100, noisy=True)
    failed, rows = gallery(retargeter)
    files = {
        SHEET: jpeg(sheet(retargeter, driver), mark),
        FAILED: jpeg(failed, mark),
        MOTION: motion(retargeter, driver).encode(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (out / file).write_bytes(data)
        print(f"{out / file}: {len(data) / 1e3:.0f} kB")
    for row in rows:
        print(f"  {row.failure.name}: {100 * row.left:.0f} % of the difference left")
    found = facts(DEFAULT_WEIGHTS, retargeter.content_sha256, files, rows)
    (out / FACTS).write_text(json.dumps(found, indent=2) + "\n")


def _film(person: int, take: int, units: dict[int, float], *, fps: int = 25, noisy: bool = False) -> LabClip:
    seconds = 0.4 if noisy else 0.16
    return lab_clip(
        HELD_OUT_SEEDS[person], action_units=units, seed=take, fps=fps, duration_s=seconds, drift=0.3, noisy=noisy
    )


def _phase(name: str, clip: LabClip, index: int) -> Phase:
    return Phase(name, index, clip.frames[index].numpy(), clip.frames[0].numpy())


if __name__ == "__main__":
    main()
