"""What is known about a weights file: `WeightsInfo` of one that was loaded, `WeightsReport` of one looked into."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eamfmeg_fast.weights.shapes import Mismatch


@dataclass(frozen=True)
class WeightsInfo:
    """Where the weights of a network come from.

    Attributes:
        preset: configuration they belong to.
        path: the file.
        sha256: of the file; content_sha256: of its tensors, whatever the metadata say.
        card: the model card (what it was trained on, licence, recipe, seed, steps, limits).
        params: learned numbers. dtype: of the matrices on disk, "F32", "F16" or "BF16".
        version: of the package that wrote the file. created_from: sha256 of the checkpoint it was converted from.
        activation_scales: what one step of a byte stands for in the input of a convolution; None: never measured.
    """

    preset: str
    path: Path
    sha256: str
    content_sha256: str
    card: dict[str, Any]
    params: int
    dtype: str
    version: str
    created_from: str | None = None
    activation_scales: dict[str, float] | None = None


@dataclass(frozen=True)
class PartReport:
    """One part of a file: its tensors, the numbers in them, their bytes and types."""

    name: str
    tensors: int
    params: int
    bytes: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class WeightsReport:
    """What `eamfmeg inspect` and `eamfmeg convert` show.

    Attributes:
        path, file_bytes, sha256: the file.
        kind: "weights" (ours), "safetensors" (anybody's) or "checkpoint" (torch.save).
        preset: the one it states, else the one it resembles most; stated says which of the two.
        parts: what a network is made of; left_out: what else is in there, or was in the checkpoint.
        mismatch: first tensor that differs from the preset; problems: everything that `load_network` would refuse,
            one clause each.
        card, version, created_from, content_sha256: provenance; None where the file is silent.
        epoch: of a checkpoint, if it says. scaled: whether it holds activation scales, for precision int8.
    """

    path: Path
    kind: str
    file_bytes: int
    sha256: str
    preset: str
    stated: bool
    parts: tuple[PartReport, ...]
    left_out: tuple[str, ...] = ()
    mismatch: Mismatch | None = None
    problems: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    created_from: str | None = None
    content_sha256: str | None = None
    epoch: int | None = None
    scaled: bool = False

    @property
    def params(self) -> int:
        """Numbers in all parts."""
        return sum(part.params for part in self.parts)

    @property
    def usable(self) -> bool:
        """Whether `load_network` takes the file as it is."""
        return self.kind == "weights" and not self.problems

    @property
    def convertible(self) -> bool:
        """Whether `convert` can make weights of it."""
        return self.kind != "weights" and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Everything, in JSON's types."""
        mismatch = None
        if self.mismatch is not None:
            mismatch = asdict(self.mismatch) | {"text": f"{self.mismatch.got}; expected {self.mismatch.wanted}"}
        plain = asdict(self) | {"path": str(self.path), "mismatch": mismatch}
        plain["parts"] = [asdict(part) | {"dtypes": list(part.dtypes)} for part in self.parts]
        plain["left_out"], plain["problems"] = list(self.left_out), list(self.problems)
        return plain | {"params": self.params, "usable": self.usable, "convertible": self.convertible}

    def lines(self) -> list[str]:
        """The same for people, one fact a line."""
        how = "states" if self.stated else "resembles"
        out = [f"{self.path}: {self.kind}, {self.file_bytes / 1e6:.1f} MB", f"sha256 {self.sha256}"]
        out.append(f"{how} preset {self.preset}, {self.params / 1e6:.2f} M numbers")
        for part in self.parts:
            types = "+".join(part.dtypes)
            out.append(f"  {part.name:<18}{part.tensors:>5} tensors {part.params:>12,} numbers  {types}")
        out += [f"left out: {', '.join(self.left_out)}"] if self.left_out else []
        out += [f"epoch {self.epoch}"] if self.epoch is not None else []
        out += [f"written by version {self.version}"] if self.version else []
        out += [f"converted from sha256 {self.created_from}"] if self.created_from else []
        out += ["has activation scales, for precision int8"] if self.scaled else []
        out += [f"card {key}: {value}" for key, value in sorted(self.card.items())]
        out += [f"problem: {problem}" for problem in self.problems]
        if self.usable:
            out.append("ready to load")
        elif self.convertible:
            out.append("ready for `eamfmeg convert`")
        return out
