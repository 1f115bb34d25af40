"""Slopes that a method only looks at, told apart from the gradients that train: both pass the same hooks of tensors."""

from __future__ import annotations

import contextlib
from typing import Iterator

__all__ = ["is_probing", "probing"]

_depth = 0  # of the process: backward passes on a GPU call hooks in other threads


@contextlib.contextmanager
def probing() -> Iterator[None]:
    """What is differentiated in the block is only looked at, and no network trains on it."""
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


def is_probing() -> bool:
    """Whether a gradient that a hook of a tensor is given is such a slope."""
    return _depth > 0
