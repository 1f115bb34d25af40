"""``regan-ext data prepare``: images in whatever form they came, out as the zip that the hosts train from."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Optional, Sequence

from ..support.errors import UserError
from ..support.text import counted
from .archive import ImageZip, check_target, image_zip, indices_path, member_name, numbered, same_target, write_list
from .data_set import DataSet
from .dataset_json import Label
from .entries import Entry
from .images import encode, fit
from .mending import Plan, Report, Survey, examined, survey
from .request import Request
from .table import get

__all__ = ["pack", "prepare"]


def prepare(
    request: Request,
    say: Callable[[str], None] = lambda line: None,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> List[str]:
    """Write ``request.out``, whole or not at all.

    Args:
        request: what is asked for.
        say: takes one line for every file with a fault, where nothing is written for it.
        tick: takes the number of images done, and of all.

    Returns:
        Lines that say what was written.

    Raises:
        UserError: something is wrong with the arguments or the images; nothing was written.
    """
    data_set = get(request.name)
    count = data_set.count if request.count is None else request.count
    _check(request, data_set, count)
    outs = [request.out] + ([] if request.rest is None else [request.rest])
    for out in outs:
        check_target(out, Path(request.source), listed=count is not None)
    report = Report((lambda line: None) if request.quiet else say, tick, request.verbose, request.strict)
    with data_set.layout.opened(request, data_set.images_of(request.split)[0]) as found, ExitStack() as stack:
        _check_count(request, data_set, len(found.entries))
        entries = _of_class(found.entries, request.only, data_set)
        for name, reason in found.strays:
            report.note(name, [f"left out ({reason})"])
        everything = list(range(len(entries)))
        first, how = (everything, "") if count is None else data_set.layout.choose(entries, count, request.seed)
        parts = [first, sorted({*everything} - {*first})][: len(outs)]
        if not all(parts):
            raise UserError("--rest: every image was chosen, none is left")
        seen = survey([entries[number] for number in first]) if data_set.own else Survey(data_set.mode)
        plan = Plan(
            request.resolution or data_set.resolution,
            request.resize or data_set.resize,
            seen.mode,
            data_set.own,
            request.keep_duplicates,
            request.fit,
            seen.bits,
        )
        written = [
            pack([entries[number] for number in part], stack.enter_context(image_zip(out)), plan, report)
            for out, part in zip(outs, parts)
        ]
    if count is not None:
        for out, part in zip(outs, parts):
            # The zip of all images has them in this order, under names of its own.
            rows = [numbered(number, entries[number].name) for number in part]
            which = f"{data_set.name}, {how}" if request.only is None else f"{data_set.name}, class {request.only}, {how}"
            write_list(indices_path(out), [f"{len(part)} of {len(entries)} images of {which}"], rows)
            found.notes.append(f"The chosen images are listed in {indices_path(out)}")
    if seen.deep:
        white = 2**seen.bits - 1
        found.notes.append(
            f"{seen.deep} images have more than 8 bits a channel; their values fill {seen.bits}: {white} is white."
        )
    lines = [_written(out, labels, plan) for out, labels in zip(outs, written)]
    lines += _summary(request, data_set, plan, report, written[0], found.notes)
    return lines if data_set.own else [*lines, f"Licence of {data_set.name}: {data_set.licence}"]


def _check(request: Request, data_set: DataSet, count: Optional[int]) -> None:
    resolution = request.resolution
    if resolution is not None and (resolution < 4 or resolution & (resolution - 1)):
        raise UserError(f"--resolution={resolution}: the hosts need a power of two from 4 on, such as 128, 256 or 512")
    if request.count is not None and data_set.own:
        raise UserError("--count is for known sets; prepare all images, then regan-ext data subset takes some of them")
    if request.rest is not None and (count is None or same_target(request.out, request.rest)):
        raise UserError("--rest needs --count and a file of its own: it takes the images that were not chosen")
    if request.keep_duplicates and not data_set.own:
        raise UserError(f"--keep-duplicates is for my-images; of {data_set.name} every image is kept")
    if request.only is not None and data_set.own:
        raise UserError("--class is for known sets; of your own images, take the folder of the class")
    if request.labels != "auto" and not data_set.own:
        raise UserError(f"--labels is for my-images; those of {data_set.name} are known")


def _check_count(request: Request, data_set: DataSet, found: int) -> None:
    split, expected = data_set.images_of(request.split)
    if found == 0:
        raise UserError(f"{request.source} holds no images that belong to {data_set.name}")
    if not data_set.own and found != expected and not request.any_count:
        part = "" if split == "all" else f" ({split})"
        raise UserError(
            f"{request.source} holds {counted(found, 'image')}, {data_set.name}{part} has {expected}; "
            "--any-count takes it as it is"
        )


def _of_class(entries: List[Entry], only: Optional[int], data_set: DataSet) -> List[Entry]:
    """The images of one class, without the label that all have; all images where none is asked for."""
    if only is None:
        return entries
    kept = [replace(entry, label=None) for entry in entries if entry.label == only]
    if not kept:
        known = sorted({entry.label for entry in entries if isinstance(entry.label, int)})
        there = f"has the classes {known[0]} to {known[-1]}" if known else "has no classes here"
        raise UserError(f"--class={only}: {data_set.name} {there}")
    return kept


def pack(entries: Sequence[Entry], archive: ImageZip, plan: Plan, report: Report) -> List[Optional[Label]]:
    """Write the images into ``archive`` as the host's dataset_tool.py does, byte for byte but for the dates in the zip.

    Returns:
        Labels of the images that were written, None for one without.

    Raises:
        UserError: nothing to write, or there are faults and they were to be refused.
    """
    labels = []
    for entry, image in examined(entries, plan, report):
        name = member_name(archive.count)
        archive.add(name, encode(fit(image, plan.resolution, plan.resize, plan.shape)))
        labels.append((name, entry.label))
    report.check(len(labels))
    archive.add_labels(labels, plan.resize if report.scaled else None)
    return [label for _, label in labels]


def _written(out: Path, labels: Sequence[Optional[Label]], plan: Plan) -> str:
    kind = "grey" if plan.mode == "L" else "RGB"
    has = "without" if None in labels else "with"
    return f"{out}: {counted(len(labels), 'image')}, {plan.resolution}x{plan.resolution}, {kind}, {has} labels"


def _summary(
    request: Request, data_set: DataSet, plan: Plan, report: Report, labels: Sequence[Optional[Label]], notes: Sequence[str]
) -> List[str]:
    lines = report.counts()
    labelled = sum(label is not None for label in labels)
    if 0 < labelled < len(labels):
        lines.append(f"Only {labelled} of {len(labels)} images have a label, so none is written.")
    lines += [*notes, *report.near_copies()]
    side = plan.resolution
    if report.scaled:
        lines.append(f"Scaled with the {plan.resize} filter.")
    elif data_set.raw_size is not None and data_set.raw_size != side:
        lines.append(
            f"Every image was {side}x{side} already: with which filter they were scaled is not known, and FID depends on it."
        )
    if report.lines and not request.quiet:
        head = "File by file:" if request.verbose else f"Faults in {counted(report.wrong, 'file')}:"
        lines += [head, *(f"  {line}" for line in report.shown())]
    return lines
