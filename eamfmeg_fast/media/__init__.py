"""Pictures and clips in and out: bounded, streaming, and one clear error for whatever is wrong with a file."""

from eamfmeg_fast.media.clip import ClipReader, open_clip, probe
from eamfmeg_fast.media.frames import DEFAULT_FPS, ClipInfo, Frame, parse_fps
from eamfmeg_fast.media.picture import read_picture
from eamfmeg_fast.media.write import ClipWriter, open_writer

__all__ = [
    "DEFAULT_FPS",
    "ClipInfo",
    "ClipReader",
    "ClipWriter",
    "Frame",
    "open_clip",
    "open_writer",
    "parse_fps",
    "probe",
    "read_picture",
]
