"""Every plan of the engine against every rival: `python benchmarks/engine.py` runs the rounds, keeps and shows them.

Results are saved after every round, so that a run that is stopped leaves what it knew. Networks that were measured
before and are not asked for stay in the results.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from baselines import RIVALS, YARDSTICK
from contest import Clip, Field, enter, make_kit, say
from engine_table import RESULTS, beside, table, write_readme
from facts import commit, machine, slug
from rounds import Pace, Tally, play, summary
from variants import OURS

_MINUTES = 7.0
HERE = Path(__file__).parent
ROOT = HERE.parent
KITS = ROOT / "build" / "rivals"
_LEAST_S = 0.5
"""Of single frames, however late it is."""
_OPEN_SHARE, _ROUNDS_SHARE = 0.6, 0.85
"""Of a network's time: until then variants may be opened, until then rounds may begin; latencies take the rest."""

Result = dict[str, Any]


def main() -> None:
    """Run, save, show."""
    options = _options()
    facts = machine()
    path = options.out or RESULTS / f"engine-{slug(facts)}.json"
    result = kept(path)
    versions = {"versions": facts.pop("versions")}
    result |= {"machine": facts}
    for spec, minutes in wanted(options.networks).items():
        run(spec, 60 * minutes, options, lambda rows, spec=spec: _save(path, result, spec, rows | versions))
    if options.out is None:
        write_readme(result)
    print(table(result))
    if options.beside:
        print(beside(result, json.loads(options.beside.read_text())))


def kept(path: Path) -> Result:
    """Results of before, each network with the versions of the packages that it was measured with."""
    result: Result = json.loads(path.read_text()) if path.exists() else {"networks": {}}
    versions = result.get("machine", {}).pop("versions", {})
    for found in result["networks"].values():
        found.setdefault("versions", versions)
    return result


def wanted(text: str) -> dict[str, float]:
    """Minutes by network, from "fomm=10,small"."""
    pairs = (word.partition("=") for word in text.split(",") if word)
    return {spec: float(minutes or _MINUTES) for spec, _, minutes in pairs}


def run(spec: str, seconds: float, options: argparse.Namespace, save: Any) -> None:
    """One network's contest within about `seconds`; `save` is handed its figures whenever there are new ones."""
    begin = time.monotonic()
    clip = Clip(options.frames, options.driving, options.target)
    kit = make_kit(KITS / f"{Path(spec).stem}-{key_of(clip, spec)}", spec, clip)
    names = chosen(options.only)
    entered = enter(kit, names, options.threads, begin + _OPEN_SHARE * seconds)
    head = {"commit": commit(), "date": datetime.date.today().isoformat(), "threads": options.threads}
    head |= {"clip": "lab" if clip.driving is None else clip.driving.name, "yardstick": YARDSTICK}

    def keep(tallies: dict[str, Tally], failed: dict[str, str]) -> None:
        save(figures(head, entered, tallies, failed))
        least = min((len(tally.batches()) for name, tally in tallies.items() if name not in failed), default=0)
        say(f"{spec}: {least} rounds, {sum(tally.thrown for tally in tallies.values())} batches thrown away")

    try:
        rounds_end = begin + _ROUNDS_SHARE * seconds
        pace = Pace(options.warmup, options.batch)
        tallies, failed = play(entered.contestants, rounds=options.rounds, end=rounds_end, pace=pace, after_round=keep)
        left = (begin + seconds - time.monotonic()) / max(len(entered.contestants), 1)
        latencies(entered, options.frames, max(left, _LEAST_S), failed)
        keep(tallies, failed)
    finally:
        entered.close()


def chosen(only: str) -> list[str]:
    """Names of the variants that take part: what all ratios need first, what takes long to open last."""
    from eamfmeg_fast.evaluate.speed import engine_plans

    names = [*(OURS + plan for plan in engine_plans("cpu")), *RIVALS]
    wanted = [word for word in only.split(",") if word]
    if wanted:
        names = [name for name in names if name == YARDSTICK or any(word in name for word in wanted)]
    return sorted(names, key=lambda name: (name != YARDSTICK, "compile" in name))


def latencies(entered: Field, frames: int, seconds: float, failed: dict[str, str]) -> None:
    """Latency of single frames and peak memory of all that are left."""
    from eamfmeg_fast.evaluate.speed import percentiles

    for name, contestant in entered.contestants.items():
        if name in failed:
            continue
        found = contestant.ask(seconds + 120.0, task="latency", frames=frames, seconds=seconds)
        if "failed" in found:
            failed[name] = found["failed"]
            continue
        row = {key: round(value, 3) for key, value in percentiles(found["times_ms"]).items()}
        entered.facts[name] |= {
            "latency": {**row, "frames": len(found["times_ms"]), "others": found["others"]},
            "peak_mb": round(found["peak_mb"], 1),
        }


def figures(head: Result, entered: Field, tallies: dict[str, Tally], failed: dict[str, str]) -> Result:
    """All that is known of one network."""
    rows = {name: {**row, **entered.facts[name]} for name, row in summary(tallies, YARDSTICK).items()}
    ordered = dict(sorted(rows.items(), key=lambda item: item[1]["p50_ms"]))
    return {**head, "rows": ordered, "failed": {**entered.failed, **failed}}


def _save(path: Path, result: Result, spec: str, rows: Result) -> None:
    result["networks"][Path(spec).stem] = rows
    path.parent.mkdir(exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(path)


def key_of(clip: Clip, spec: str) -> str:
    """Of a kit: the contents of all that makes it, program, weights and clip; other contents, another kit."""
    whole = hashlib.sha256(f"{spec} {clip.frames}".encode())
    for files in (_made_by(), _files(Path(spec.partition("@")[0])), _files(clip.driving), _files(clip.target)):
        whole.update(f" {len(files)}".encode())
        for path in files:
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()[:12]


def _made_by() -> list[Path]:
    import eamfmeg_fast.kernels

    package, kernels = (Path(module.__path__[0]) for module in (eamfmeg_fast, eamfmeg_fast.kernels))
    globs = [(HERE / "baselines", "*.py"), (package / "network", "*.py"), (package / "pretrained", "*.safetensors")]
    globs += [(package / "lab", "*.py"), (kernels, "*/reference.py"), (kernels, "geometry.py")]
    return [path for folder, words in globs for path in sorted(folder.glob(words))]


def _files(path: Path | None) -> list[Path]:
    """The file, or those in the folder; none if it is not there."""
    if path is None or not path.exists():
        return []
    return [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    words = "presets or weights files, with a size (fomm@512) and minutes (eamfmeg=10)"
    parser.add_argument("--networks", default="fomm=9.5,small=4.5", help=words)
    parser.add_argument("--rounds", type=int, default=7, help="at most")
    parser.add_argument("--only", default="", help="parts of variants' names; the yardstick always takes part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=300, help="distinct frames of the latency figures")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before each batch")
    parser.add_argument("--batch", type=float, default=1.2, help="seconds of each batch")
    parser.add_argument("--driving", type=Path, help="a clip of your own")
    parser.add_argument("--target", type=Path, help="a picture of your own")
    parser.add_argument("--out", type=Path, help="another results file; the README then stays as it is")
    parser.add_argument("--beside", type=Path, help="another machine's results to print beside")
    options = parser.parse_args(sys.argv[1:])
    if options.threads < 1 or options.frames < 2 or options.rounds < 1:
        parser.error("threads and rounds must be at least 1, frames at least 2")
    return options


if __name__ == "__main__":
    main()
