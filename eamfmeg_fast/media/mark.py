"""The machine-readable mark "made by a trained model": its text in a file, written and found again."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Protocol, runtime_checkable
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eamfmeg_fast import __version__
from eamfmeg_fast.config import LIMITS
from eamfmeg_fast.errors import OptionError
from eamfmeg_fast.media.folder import frame_paths
from eamfmeg_fast.media.gif import walk_gif
from eamfmeg_fast.media.picture import open_picture
from eamfmeg_fast.media.safe_file import media_errors, open_regular
from eamfmeg_fast.media.sniff import PICTURES, sniff
from eamfmeg_fast.media.video import open_container

#: IPTC's word for a picture made by a trained model.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
#: IPTC's word for a picture that an algorithm altered, without a generative model ("algorithmically-altered media").
ALTERED_PHOTO = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicallyEnhanced"
#: What an output of ours can be.
DIGITAL_SOURCE_TYPES = (DIGITAL_SOURCE_TYPE, ALTERED_PHOTO)
#: Key of the PNG text that holds the mark as JSON.
PNG_KEY = "eamfmeg_fast"
_XMP_KEY = "XML:com.adobe.xmp"
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_MAX_MARK_CHARS = 60_000


@runtime_checkable
class HasJson(Protocol):
    """Anything that can state itself as JSON, such as `provenance.Mark`."""

    def to_json(self) -> str:
        """One JSON object as text."""


def mark_text(mark: str | HasJson | None) -> str:
    """The mark as ASCII JSON on one line; without one, at least what made it and that it is synthetic.

    Raises:
        OptionError: no JSON object, or too long to embed.
    """
    text = mark.to_json() if isinstance(mark, HasJson) else mark
    if text is None:
        text = json.dumps({"software": PNG_KEY, "version": __version__, "digital_source_type": DIGITAL_SOURCE_TYPE})
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise OptionError("the mark is no JSON object", "provenance.Mark or its JSON")
    flat = json.dumps(fields)
    if len(flat) > _MAX_MARK_CHARS:
        raise OptionError(f"the mark has {len(flat)} characters", f"at most {_MAX_MARK_CHARS}")
    return flat


def source_type_of(text: str) -> str:
    """The digital source type that the text of a mark states, if it is one of ours."""
    stated = json.loads(text).get("digital_source_type")
    return stated if stated in DIGITAL_SOURCE_TYPES else DIGITAL_SOURCE_TYPE


def xmp_packet(text: str) -> str:
    """An XMP packet that states the mark's digital source type and carries the mark as its description."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<Iptc4xmpExt:DigitalSourceType>{source_type_of(text)}</Iptc4xmpExt:DigitalSourceType>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(text)}</rdf:li></rdf:Alt></dc:description>'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    )


def png_text(text: str) -> PngInfo:
    """The PNG chunks that carry the mark: the JSON as tEXt, the XMP packet as iTXt."""
    chunks = PngInfo()
    chunks.add_text(PNG_KEY, text)
    chunks.add_itxt(_XMP_KEY, xmp_packet(text))
    return chunks


def xmp_box(text: str) -> bytes:
    """The mp4 box that carries the XMP packet, to be put behind all others."""
    packet = xmp_packet(text).encode()
    return struct.pack(">I4s", 24 + len(packet), b"uuid") + _XMP_UUID + packet


def find_mark(path: str | os.PathLike[str]) -> str | None:
    """The text of the mark in an mp4, GIF, PNG or the first frame of a folder; None where there is none.

    Raises:
        MediaError: the file cannot be read.
    """
    if os.path.isdir(path):
        path = frame_paths(path)[0][0]
    with open_regular(path) as file, media_errors(path):
        kind = sniff(file, path)
        if kind == "gif":
            candidates = [comment.decode("ascii", "replace") for comment in walk_gif(file, path).comments]
        elif kind in PICTURES:
            with open_picture(file, path, LIMITS.max_picture_pixels) as image:
                candidates = [_png_mark(image)]
        else:
            with open_container(path) as (container, _):
                candidates = [container.metadata.get(key, "") for key in ("comment", "COMMENT")]
    return next((text for text in candidates if _is_mark(text)), None)


def _png_mark(image: Image.Image) -> str:
    return str(image.info.get(PNG_KEY, ""))


def _is_mark(text: str) -> bool:
    try:
        fields = json.loads(text) if text.startswith("{") and len(text) <= _MAX_MARK_CHARS else None
    except (ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and isinstance(fields.get("digital_source_type"), str)


def append_xmp(path: Path, text: str) -> None:
    """Puts the XMP box behind everything else in an mp4."""
    with open(path, "ab") as file:
        file.write(xmp_box(text))
