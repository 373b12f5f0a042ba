"""Reads one picture, after its header has shown that it is whole and small enough."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin
from PIL.ImageFile import ImageFile

from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import MediaError
from eamfmeg_fast.media.frames import check_size
from eamfmeg_fast.media.safe_file import media_errors, open_regular, shown
from eamfmeg_fast.media.sniff import PICTURES, sniff

#: Colour that shows through where a picture is transparent.
BACKGROUND = (255, 255, 255)
# Taken directly: Image.open would try other formats and warn of sizes that are refused here anyway.
_FORMATS: dict[str, type[ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
_MAX_CHUNKS = 100_000
_MAX_SCANS = 200
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, 0),
    3: (Image.Transpose.ROTATE_180, 180),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, 0),
    5: (Image.Transpose.TRANSPOSE, 90),
    6: (Image.Transpose.ROTATE_270, 90),
    7: (Image.Transpose.TRANSVERSE, 90),
    8: (Image.Transpose.ROTATE_90, 270),
}


def read_picture(path: str | os.PathLike[str]) -> np.ndarray:
    """One picture, upright (EXIF orientation applied), transparent parts on white, colour profiles ignored.

    Grey, palette and CMYK become RGB; 16 bits per sample keep their upper 8. Of an animated PNG: the first frame.

    Args:
        path: a PNG, JPEG or BMP file, whatever its name; of a GIF the first frame is taken.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous.

    Raises:
        MediaError: missing, not a regular file, of another kind, damaged, cut, too small or too large.
    """
    with open_regular(path) as file, media_errors(path):
        if sniff(file, path) == "gif":
            from eamfmeg_fast.media.gif import read_gif  # gif.py itself needs `flatten` from here

            return next(read_gif(path)).image
        with open_picture(file, path, LIMITS.max_picture_pixels) as image:
            return upright(image)


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int, int, str]:
    """Width and height in pixels once upright, degrees clockwise of that, and the kind; nothing is decoded.

    Raises:
        MediaError: as `read_picture`.
    """
    with open_regular(path) as file, media_errors(path):
        kind = sniff(file, path)
        with open_picture(file, path, LIMITS.max_picture_pixels) as image:
            degrees = _UPRIGHT.get(_orientation(image), (None, 0))[1]
            width, height = image.size
            return (height, width, degrees, kind) if degrees in (90, 270) else (width, height, degrees, kind)


def open_picture(file: BinaryIO, path: str | os.PathLike[str], max_pixels: int) -> Image.Image:
    """The picture with its header read and checked, its pixels not yet decoded.

    Raises:
        MediaError: of another kind, too large, cut, or damaged in its header.
    """
    size = os.fstat(file.fileno()).st_size
    if size > LIMITS.max_picture_bytes:
        raise MediaError(f"{shown(path)} has {size} bytes", f"at most {LIMITS.max_picture_bytes} for a picture")
    kind = sniff(file, path)
    if kind not in PICTURES:
        raise MediaError(f"{shown(path)} is {kind}", "a picture (png, jpeg or bmp)")
    if kind == "png":
        check_png(file, size, path)
    elif kind == "jpeg":
        _check_jpeg(file, path)
    file.seek(0)
    image = _FORMATS[kind](file)
    check_size(image.width, image.height, max_pixels, shown(path))
    return image


def check_png(file: BinaryIO, size: int, path: str | os.PathLike[str]) -> None:
    """Walks the chunks, so that no length is believed that the file does not hold.

    Raises:
        MediaError: a chunk reaches behind the end, the end is missing, or the header promises too many pixels.
    """
    position = 8
    for number in range(_MAX_CHUNKS):
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            break
        length, name = struct.unpack(">I4s", head)
        if (number == 0) != (name == b"IHDR") or position + 12 + length > size:
            break
        if number == 0:
            width, height = struct.unpack(">II", file.read(8))
            check_size(width, height, LIMITS.max_picture_pixels, shown(path))
        if name == b"IEND":
            return
        position += 12 + length
    raise MediaError(f"{shown(path)} is cut or damaged: its chunks do not end inside the file", "a whole PNG")


def _check_jpeg(file: BinaryIO, path: str | os.PathLike[str]) -> None:
    file.seek(0)
    data = file.read(LIMITS.max_picture_bytes)
    if data.count(b"\xff\xda") > _MAX_SCANS:
        raise MediaError(f"{shown(path)} has more than {_MAX_SCANS} scans", "an ordinary JPEG")
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise MediaError(f"{shown(path)} is cut: its end marker is missing", "a whole JPEG")


def upright(image: Image.Image) -> np.ndarray:
    """Decodes to uint8 [H, W, 3] RGB with the EXIF orientation applied."""
    orientation = _orientation(image)
    flat = flatten(image)
    if orientation in _UPRIGHT:
        flat = flat.transpose(_UPRIGHT[orientation][0])
    return np.array(flat, dtype=np.uint8, order="C")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block says nothing about the pixels, which are decoded on their own
        return 1
    return value if isinstance(value, int) else 1


def flatten(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB, on `BACKGROUND` where it is transparent."""
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.dtype != np.uint8 and (image.mode != "I" or grey.max(initial=0) > 255):
            image = Image.fromarray((np.clip(grey, 0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (*BACKGROUND, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
