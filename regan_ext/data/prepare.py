"""``regan-ext data prepare``: images in whatever form they came, out as the zip that the hosts train from."""

from __future__ import annotations

import random
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence

from ..support.errors import UserError
from ..support.text import counted
from .archive import ImageZip, beside, check_target, indices_path, member_name, numbered, write_list
from .cifar import cifar10_entries
from .containers import open_container
from .dataset_json import Label
from .images import encode, fit
from .manifest import DataSet, Limits
from .mending import Plan, Report, Survey, examined, survey
from .request import Request
from .sources import Entry, Found, entries_of
from .table import DIGITS, OWN, get
from .unpack import is_archive, unpack

__all__ = ["chosen", "pack", "prepare"]


def chosen(total: int, count: int, seed: int) -> List[int]:
    """``count`` of the numbers below ``total``, sorted: the same on every machine, and a smaller choice lies in a larger one.

    Raises:
        UserError: there are not so many.
    """
    if not 1 <= count <= total:
        raise UserError(
            f"--count={count}: " + ("at least 1 image is needed" if count < 1 else f"{counted(total, 'image')} found")
        )
    # random() alone is promised to give the same numbers in every version of Python.
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(total)]
    return sorted(sorted(range(total), key=lambda index: (keys[index], index))[:count])


def prepare(request: Request, say: Callable[[str], None], tick: Callable[[int, int], None]) -> List[str]:
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
    _check(request, data_set)
    if data_set is DIGITS:
        from .digit_set import prepare_digits

        return prepare_digits(request)
    count = data_set.count if request.count is None else request.count
    check_target(request.out, Path(request.source), listed=count is not None)
    report = Report((lambda line: None) if request.quiet else say, tick, request.verbose, request.strict)
    with _opened(request, data_set) as found:
        _check_count(request, data_set, len(found.entries))
        for name, reason in found.strays if data_set is OWN else []:
            report.note(name, [f"left out ({reason})"])
        numbers = None if count is None else chosen(len(found.entries), count, request.seed or 0)
        entries = found.entries if numbers is None else [found.entries[number] for number in numbers]
        seen = survey(entries) if data_set is OWN else Survey("RGB")
        plan = _plan(request, data_set, seen)
        labels = pack(entries, request.out, plan, report)
        if numbers is not None:
            head = [f"{len(numbers)} of {len(found.entries)} images of {data_set.name}, seed {request.seed or 0}"]
            # The zip of all images has them in this order, under names of its own.
            write_list(indices_path(request.out), head, [numbered(n, found.entries[n].name) for n in numbers])
            found.notes.append(f"The chosen images are listed in {indices_path(request.out)}")
    if seen.deep:
        white = 2**seen.bits - 1
        found.notes.append(
            f"{seen.deep} images have more than 8 bits a channel; their values fill {seen.bits}: {white} is white."
        )
    return _summary(request, data_set, plan, report, labels, found.notes)


def _check(request: Request, data_set: DataSet) -> None:
    resolution = request.resolution
    if resolution is not None and (resolution < 4 or resolution & (resolution - 1)):
        raise UserError(f"--resolution={resolution}: the hosts need a power of two from 4 on, such as 128, 256 or 512")
    if request.rest is not None and data_set is not DIGITS:
        raise UserError("--rest is for the digits; regan-ext data subset has it for a prepared zip")
    if request.count is not None and data_set is OWN:
        raise UserError("--count is for known sets; prepare all images, then regan-ext data subset takes some of them")
    if request.keep_duplicates and data_set is not OWN:
        raise UserError(f"--keep-duplicates is for my-images; of {data_set.name} every image is kept")
    if request.labels != "auto" and data_set is not OWN:
        raise UserError(f"--labels is for my-images; those of {data_set.name} are known")
    data_set.images_of(request.split)


def _plan(request: Request, data_set: DataSet, seen: Survey) -> Plan:
    return Plan(
        request.resolution or data_set.resolution,
        request.resize or data_set.resize,
        seen.mode,
        own=data_set is OWN,
        keep_duplicates=request.keep_duplicates,
        shape=request.fit,
        bits=seen.bits,
    )


def _check_count(request: Request, data_set: DataSet, found: int) -> None:
    split, expected = data_set.images_of(request.split)
    if found == 0:
        raise UserError(f"{request.source} holds no images that belong to {data_set.name}")
    if data_set is not OWN and found != expected and not request.any_count:
        part = "" if split == "all" else f" ({split})"
        raise UserError(
            f"{request.source} holds {counted(found, 'image')}, {data_set.name}{part} has {expected}; "
            "--any-count takes it as it is"
        )


@contextmanager
def _opened(request: Request, data_set: DataSet) -> Iterator[Found]:
    """What the source holds. What cannot be read in place is unpacked for a while."""
    source = Path(request.source)
    split, _ = data_set.images_of(request.split)
    if data_set.layout == "cifar10":
        yield Found(cifar10_entries(source, split))
    elif source.is_file() and is_archive(source) and source.suffix.lower() != ".zip":
        with beside(request.out, ".unpacked-") as temporary:
            unpack(source, temporary / "content", Limits())
            for labels in source.parent.glob("imagelabels.mat"):
                shutil.copy(labels, temporary)
            yield entries_of(data_set, open_container(temporary / "content"), split, request.labels)
    else:
        container = open_container(source)
        if "." in container.runs:
            raise UserError(f"{source} is the folder of a training run; its pictures are no training images")
        yield entries_of(data_set, container, split, request.labels)


def pack(entries: Sequence[Entry], out: Path, plan: Plan, report: Report) -> List[Optional[Label]]:
    """Write the images into ``out`` as the host's dataset_tool.py does, byte for byte but for the dates in the zip.

    Returns:
        Labels of the images that were written, None for one without.

    Raises:
        UserError: nothing to write, or there are faults and they were to be refused.
    """
    labels = []
    with ImageZip(out) as archive:
        for entry, image in examined(entries, plan, report):
            name = member_name(archive.count)
            archive.add(name, encode(fit(image, plan.resolution, plan.resize, plan.shape)))
            labels.append((name, entry.label))
        report.check(len(labels))
        archive.add_labels(labels, plan.resize if report.scaled else None)
        return [label for _, label in labels]


def _summary(
    request: Request, data_set: DataSet, plan: Plan, report: Report, labels: Sequence[Optional[Label]], notes: Sequence[str]
) -> List[str]:
    written, labelled = len(labels), sum(label is not None for label in labels)
    side, kind = plan.resolution, "grey" if plan.mode == "L" else "RGB"
    lines = [
        f"{request.out}: {counted(written, 'image')}, {side}x{side}, {kind}, "
        f"{'with' if labelled == written else 'without'} labels"
    ]
    lines += report.counts()
    if 0 < labelled < written:
        lines.append(f"Only {labelled} of {written} images have a label, so none is written.")
    lines += [*notes, *report.near_copies()]
    if report.scaled:
        lines.append(f"Scaled with the {plan.resize} filter.")
    elif data_set.raw_size is not None and data_set.raw_size != plan.resolution:
        lines.append(
            f"Every image was {side}x{side} already: with which filter they were scaled is not known, and FID depends on it."
        )
    if report.lines and not request.quiet:
        head = "File by file:" if request.verbose else f"Faults in {counted(report.wrong, 'file')}:"
        lines += [head, *(f"  {line}" for line in report.shown())]
    return lines
