"""The Oxford flowers: numbered images, and their labels in a file of MATLAB's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List

from ...support.errors import UserError
from ..containers import Container
from ..entries import Found, entry_of
from ..request import Request
from .folder import Folder

__all__ = ["Flowers"]


class Flowers(Folder):
    """Labels are in imagelabels.mat among the images or beside their folder or archive; without it there are none."""

    def found(self, container: Container, request: Request, split: str) -> Found:
        """The images, in the order of their numbers."""
        places = [folder / "imagelabels.mat" for folder in (container.path, container.path.parent, Path(request.source).parent)]
        labels = next((_labels(file) for file in places if file.is_file()), [])
        matches = [re.search(r"(?:^|/)image_(\d{5})\.jpg$", name) for name in container.names]
        numbers = {match.string: int(match[1]) - 1 for match in matches if match}
        return Found([entry_of(container, n, labels[i] if 0 <= i < len(labels) else None) for n, i in numbers.items()])


def _labels(file: Path) -> List[int]:
    from scipy.io import loadmat

    try:
        return [int(label) - 1 for label in loadmat(str(file))["labels"].ravel()]
    except Exception as err:  # the reader raises nearly anything over broken files
        raise UserError(f"{file} cannot be read as the labels of the flowers ({err}); delete it to do without") from err
