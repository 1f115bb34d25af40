"""Run the checkout's own dataset_tool.py on images that it can take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from training_hooks.core.files import whole_path

from ..hosts.checkout import HostError, recognise
from ..support.errors import UserError
from .archive import add_filter, beside, fix_dates
from .dataset_json import Label
from .images import encode, square
from .mending import Plan, Report, examined
from .sources import Entry

__all__ = ["find_tool", "pack_with_host"]


def find_tool(host: str) -> Path:
    """The checkout's dataset_tool.py.

    Raises:
        UserError: ``host`` is no checkout, or has no such file.
    """
    try:
        tool = recognise(host).path / "dataset_tool.py"
    except HostError as err:
        raise UserError(f"--host: {err}") from err
    if not tool.is_file():
        raise UserError(f"--host: {tool} does not exist; leave --host out, and the images are prepared without it")
    return tool


def pack_with_host(
    tool: Path, entries: Sequence[Entry], raw: Optional[Path], out: Path, plan: Plan, report: Report
) -> List[Optional[Label]]:
    """Have ``tool`` write ``out``; what it cannot take is mended first, the rest it gets as it is.

    Args:
        tool: dataset_tool.py of a checkout.
        entries: the images.
        raw: a file that the tool reads by itself, in place of the images; None where there is none.
        out: zip to write, whole or not at all.
        plan: what the images are to become.
        report: takes what was wrong, and may refuse it.

    Returns:
        Labels of the images that were written, None for one without.

    Raises:
        UserError: the tool failed; its last line is shown.
    """
    with beside(out, ".staging-") as temporary:
        labels, source, is_square = [entry.label for entry in entries], raw, True
        if source is None:
            source = temporary / "images"
            source.mkdir()
            labels, is_square = _stage(source, entries, plan, report)
            report.check(len(labels))
        result = temporary / "result.zip"
        options = [f"--source={source}", f"--dest={result}", f"--resize-filter={plan.resize}"]
        options += [f"--width={plan.resolution}", f"--height={plan.resolution}"]
        _run(tool, options + ([] if is_square else ["--transform=center-crop"]))
        if report.scaled:
            add_filter(result, plan.resize)
        fix_dates(result)
        with whole_path(out) as whole:
            os.replace(result, whole)
    return labels


def _run(tool: Path, options: List[str]) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(tool), *options]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        said = (result.stdout.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{tool} failed and said: {said}; nothing was written")


def _stage(folder: Path, entries: Sequence[Entry], plan: Plan, report: Report) -> Tuple[List[Optional[Label]], bool]:
    """Lay out what the tool will read: links where an image is as it should be, PNGs otherwise, and the labels.

    Returns:
        Labels of the images, and whether all are square.
    """
    labels: List[Tuple[str, Optional[Label]]] = []
    is_square = True
    for entry, image, touched in examined(entries, plan, report):
        # The tool crops colour images only, and pads none.
        ours = (plan.mode == "L" or plan.shape == "pad") and image.width != image.height
        original = None if touched or ours else entry.path
        name = f"{len(labels):08d}{'.png' if original is None else original.suffix.lower()}"
        if original is not None:
            _link(original.absolute(), folder / name)
        else:
            (folder / name).write_bytes(encode(square(image, plan.shape) if ours else image))
        is_square &= ours or image.width == image.height
        labels.append((name, entry.label))
    if labels and all(label is not None for _, label in labels):
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    return [label for _, label in labels], is_square


def _link(target: Path, link: Path) -> None:
    try:
        link.symlink_to(target)
    except OSError:  # a system or a file system without links
        shutil.copyfile(target, link)
