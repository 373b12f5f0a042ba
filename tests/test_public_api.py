"""The public names are written down: one that goes or comes fails here until the list says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eamfmeg_fast

SURFACE: dict[str, str] = json.loads((Path(__file__).parent / "api_surface.json").read_text())


def test_the_package_promises_what_the_list_says() -> None:
    assert sorted(SURFACE) == sorted(eamfmeg_fast.__all__)
    assert dir(eamfmeg_fast) == sorted(eamfmeg_fast.__all__)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_every_public_name_is_there_and_lives_where_it_should(name: str) -> None:
    value = getattr(eamfmeg_fast, name)
    home = getattr(value, "__module__", "eamfmeg_fast")
    assert home == SURFACE[name] or home.startswith(SURFACE[name] + ".")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Retargetter"):
        _ = eamfmeg_fast.Retargetter


def test_every_error_has_an_exit_code_and_a_sentence() -> None:
    for name in SURFACE:
        if name.endswith("Error"):
            error = getattr(eamfmeg_fast, name)("a.png is a text file", "a picture", "Name a PNG or JPEG file.")
            assert error.exit_code in (2, 3, 4)
            assert str(error) == "a.png is a text file; expected a picture. Name a PNG or JPEG file."
