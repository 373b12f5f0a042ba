"""The public class, the clips it draws, and many pairs at once."""

from eamfmeg_fast.retargeter.batch import Job, JobResult, jobs_from_folders, jobs_from_pairs, run_jobs
from eamfmeg_fast.retargeter.clip import Clip
from eamfmeg_fast.retargeter.core import Retargeter
from eamfmeg_fast.retargeter.report import Report, RetargetedFrame, Target

__all__ = [
    "Clip",
    "Job",
    "JobResult",
    "Report",
    "RetargetedFrame",
    "Retargeter",
    "Target",
    "jobs_from_folders",
    "jobs_from_pairs",
    "run_jobs",
]
