"""The order in which a host takes its training images, from any place of it on.

It is a function of the sampler's seed: images stand in a shuffled row that is walked along in circles, and each, when its turn
is over, changes places with one of those that had theirs shortly before. To go on where a run stopped, the walk is made here,
many times as fast as by the host's own generator.
"""

from __future__ import annotations

import itertools
from typing import Any, Callable, Iterator

import numpy as np

__all__ = ["going_on"]

_DRAWN = 1 << 14  # random numbers at a time


def going_on(plain: Callable[[Any], Iterator[int]], sampler: Any, given: int) -> Iterator[int]:
    """What the host's sampler gives from a place on.

    Its first two rounds are taken from itself, and compared: a sampler that walks otherwise is followed to the end.

    Args:
        plain: the sampler's own ``__iter__``.
        sampler: the host's.
        given: images that it has given to this process before.
    """
    theirs = plain(sampler)
    begun = list(itertools.islice(theirs, min(given, 2 * len(sampler.dataset))))
    if len(begun) == given:
        return theirs
    if begun != list(itertools.islice(_walk(sampler, 0), len(begun))):
        return itertools.islice(theirs, given - len(begun), None)
    return _walk(sampler, given)


def _walk(sampler: Any, given: int) -> Iterator[int]:
    """The images of one process after the first ``given``, as observed of NVIDIA's sampler."""
    random, row = np.random.RandomState(sampler.seed), np.arange(len(sampler.dataset))
    window = round(len(row) * sampler.window_size) if sampler.shuffle else 0
    if sampler.shuffle:
        random.shuffle(row)
    images, place = row.tolist(), 0
    drawn = iter(lambda: random.randint(window, size=_DRAWN).tolist(), None) if window >= 2 else itertools.repeat([0])
    distances = itertools.chain.from_iterable(drawn)
    steps = given * sampler.num_replicas + sampler.rank
    while True:
        for distance in itertools.islice(distances, steps):
            images[place], images[place - distance] = images[place - distance], images[place]
            place = place + 1 if place + 1 < len(images) else 0
        yield images[place]
        steps = sampler.num_replicas
