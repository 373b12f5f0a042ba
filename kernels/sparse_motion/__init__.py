"""What the dense-motion hourglass sees: heatmap differences and thumbnails warped by each keypoint's motion."""

from eamfmeg_fast.kernels.sparse_motion.reference import heatmap_difference, sparse_grids, sparse_motion

__all__ = ["heatmap_difference", "sparse_grids", "sparse_motion"]
