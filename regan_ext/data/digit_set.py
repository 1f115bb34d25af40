"""scikit-learn's handwritten digits as a training set, and the others as what it is measured against."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any, List, Optional, Sequence

from PIL import Image

from ..support.errors import UserError
from .archive import ImageZip, check_target, indices_path, member_name, same_target, write_list
from .digits import load
from .images import FILTERS, encode
from .request import Request
from .table import DIGITS

__all__ = ["choose", "prepare_digits"]


def choose(classes: Sequence[int], count: int, seed: Optional[int]) -> List[int]:
    """Numbers of ``count`` digits, equally many of each class (the lower classes have one more where it does not divide).

    Args:
        classes: class of every digit.
        count: how many.
        seed: None takes the first of each class, which for 100 are those of regan-ext demo, in its order.

    Raises:
        UserError: a class has not so many.
    """
    if count < 1:
        raise UserError(f"--count={count}: choose at least one digit")
    numbers: List[int] = []
    generator = random.Random(seed)
    for digit in range(10):
        members = [index for index, found in enumerate(classes) if found == digit]
        share = count // 10 + (digit < count % 10)
        if share > len(members):
            raise UserError(f"--count={count}: there are only {len(members)} images of the digit {digit}")
        if seed is not None:
            keys = {index: generator.random() for index in members}
            members = sorted(sorted(members, key=lambda index: (keys[index], index))[:share])
        numbers += members[:share]
    return numbers


def prepare_digits(request: Request) -> List[str]:
    """Write the chosen digits, and those that were not chosen where ``request.rest`` asks for them.

    Returns:
        Lines that say what was written.

    Raises:
        UserError: something is wrong with the arguments.
        click.ClickException: scikit-learn is missing.
    """
    if request.source != "-":
        raise UserError(f"{request.source}: the digits come with scikit-learn; the source of digits is -")
    if request.rest is not None and (request.count is None or same_target(request.out, request.rest)):
        raise UserError("--rest needs --count and a file of its own: it takes the digits that were not chosen")
    if request.count is None and request.seed is not None:
        raise UserError("--seed needs --count; without it all digits are taken")
    outs = [request.out] + ([] if request.rest is None else [request.rest])
    for out in outs:
        check_target(out, listed=request.count is not None)
    digits = load()
    classes = [int(digit) for digit in digits.target]
    everything = list(range(len(classes)))
    first = everything if request.count is None else choose(classes, request.count, request.seed)
    taken = set(first)
    parts = [first, [index for index in everything if index not in taken]]
    resolution, resize = request.resolution or DIGITS.resolution, request.resize or DIGITS.resize
    lines = []
    with ExitStack() as stack:
        for out, part in zip(outs, parts):
            archive = stack.enter_context(ImageZip(out))
            _write(archive, digits, part, resolution, resize)
            lines.append(f"{out}: {len(part)} images, {resolution}x{resolution}, grey, with labels")
    if request.count is not None:
        which = "the first of each class" if request.seed is None else f"seed {request.seed}"
        for out, part in zip(outs, parts):
            head = [f"{len(part)} of {len(everything)} digits, numbers as in scikit-learn's load_digits(), chosen: {which}"]
            write_list(indices_path(out), head, [str(index) for index in part])
            lines.append(f"The numbers of its images are listed in {indices_path(out)}")
    return lines


def _write(archive: ImageZip, digits: Any, numbers: List[int], resolution: int, resize: str) -> None:
    if not numbers:
        raise UserError("--rest: every digit was chosen, none is left")
    labels = []
    for position, index in enumerate(numbers):
        image = Image.fromarray(digits.images[index])
        if resolution != image.width:
            image = image.resize((resolution, resolution), FILTERS[resize])
        name = member_name(position)
        archive.add(name, encode(image))
        labels.append((name, int(digits.target[index])))
    archive.add_labels(labels, resize if resolution != digits.images.shape[1] else None)
