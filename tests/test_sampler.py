"""A sampler that goes on gives what the host's own would have given."""

from __future__ import annotations

import importlib
import itertools
import sys
import types
from pathlib import Path
from typing import Any, Iterator, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regan_ext.hosts.sampler import going_on


@pytest.fixture(scope="module")
def plain(host_dir: Path) -> Any:
    """How the host's own sampler goes."""
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    return importlib.import_module("torch_utils.misc").InfiniteSampler.__iter__


def sampler(images: int, seed: int = 0, rank: int = 0, num_replicas: int = 1, shuffle: bool = True, window: float = 0.5) -> Any:
    return types.SimpleNamespace(dataset=range(images), seed=seed, rank=rank, num_replicas=num_replicas, shuffle=shuffle,
                                 window_size=window)  # fmt: skip


def some(images: Iterator[int]) -> List[int]:
    return [int(image) for image in itertools.islice(images, 100)]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_it_gives_what_the_hosts_own_gives_from_there_on(plain: Any, data: st.DataObject) -> None:
    replicas = data.draw(st.integers(1, 4))
    one = sampler(
        data.draw(st.integers(1, 50)), data.draw(st.integers(0, 2**31)), data.draw(st.integers(0, replicas - 1)), replicas,
        data.draw(st.booleans()), data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    )  # fmt: skip
    given_before = data.draw(st.integers(0, 700))
    assert some(going_on(plain, one, given_before)) == some(itertools.islice(plain(one), given_before, None))


def test_it_takes_of_the_hosts_own_generator_no_more_than_two_rounds(plain: Any) -> None:
    taken = []

    def counted(one: Any) -> Iterator[int]:
        for image in plain(one):
            taken.append(image)
            yield image

    assert some(going_on(counted, sampler(40), 50_000)) == some(itertools.islice(plain(sampler(40)), 50_000, None))
    assert len(taken) == 80


def test_a_sampler_that_goes_otherwise_is_followed() -> None:
    assert some(going_on(lambda one: itertools.cycle(range(7)), sampler(7), 1003)) == [(1003 + i) % 7 for i in range(100)]
