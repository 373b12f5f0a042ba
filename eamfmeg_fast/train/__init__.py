"""Training on lab clips and on warped pictures of things."""

from eamfmeg_fast.train.checkpoint import load_checkpoint
from eamfmeg_fast.train.loop import CHECKPOINT, Trained, TrainingDiverged, run
from eamfmeg_fast.train.options import RECIPES, LossWeights, Stage, TrainOptions
from eamfmeg_fast.train.pictures import PICTURES

__all__ = [
    "CHECKPOINT",
    "PICTURES",
    "RECIPES",
    "LossWeights",
    "Stage",
    "TrainOptions",
    "Trained",
    "TrainingDiverged",
    "load_checkpoint",
    "run",
]
