"""Training on lab clips and on warped pictures of things."""

from eamfmeg_fast.train.loop import Trained, TrainingDiverged, run
from eamfmeg_fast.train.options import SMALL_RECIPE, LossWeights, Stage, TrainOptions
from eamfmeg_fast.train.pictures import PICTURES

__all__ = ["PICTURES", "SMALL_RECIPE", "LossWeights", "Stage", "TrainOptions", "Trained", "TrainingDiverged", "run"]
