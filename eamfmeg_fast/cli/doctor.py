"""`eamfmeg doctor` and `eamfmeg verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from eamfmeg_fast.cli.options import Json
from eamfmeg_fast.cli.output import print_json
from eamfmeg_fast.errors import BackendError, EamfmegError, InputError


def doctor(as_json: Json = False) -> None:
    """Say what works on this machine and what to do about the rest. Exits with 3 if the core lacks something."""
    from eamfmeg_fast.doctor import examine

    findings = examine()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.status:<8}  {finding.name:<{width}}  {finding.detail}")
            if finding.fix:
                typer.echo(f"{'':<8}  {'':<{width}}  -> {finding.fix}")
    missing = [finding.name for finding in findings if finding.status == "missing"]
    if missing:
        raise BackendError(f"missing here: {', '.join(missing)}", "", "The lines above say what to do.")


def verify(
    paths: Annotated[list[Path], typer.Argument(help="Outputs: mp4, gif, png or folders of frames.")],
    as_json: Json = False,
) -> None:
    """Check that outputs carry their synthetic mark and are what their manifests say. Exits with 2 if one is not."""
    from eamfmeg_fast import provenance

    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            found = provenance.verify(path)
            mark = None if found.mark is None else asdict(found.mark)
            rows.append({"path": str(path), "ok": found.ok, "mark": mark, "problems": list(found.problems)})
        except EamfmegError as error:
            rows.append({"path": str(path), "ok": False, "mark": None, "problems": [str(error)]})
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            typer.echo(f"{'ok ' if row['ok'] else 'BAD'}  {row['path']}")
    bad = [row for row in rows if not row["ok"]]
    if bad:
        more = f" ({len(bad)} of {len(rows)} are not as written)" if len(rows) > 1 else ""
        raise InputError(f"{bad[0]['problems'][0].rstrip('.')}{more}")
