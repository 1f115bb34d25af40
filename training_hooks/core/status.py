"""The small file in a run folder that says where its job stands."""

from __future__ import annotations

import json
from pathlib import Path

from .files import tolerate_write_failure, whole_file

__all__ = ["STATUS_FILE", "note_end"]

STATUS_FILE = "regan-status.json"


def note_end(folder: Path, why: str) -> None:
    """Add the field "ended" to the status of a run, and make a status where there is none.

    Args:
        folder: of the run.
        why: "nan" where weights or losses were not finite.
    """
    path = folder / STATUS_FILE
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        status = {}
    with tolerate_write_failure(str(path)), whole_file(path) as file:
        file.write(json.dumps({**status, "ended": why}).encode())
