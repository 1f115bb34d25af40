"""Wrappers around the parts of a forward pass: their order, and that they leave nothing behind."""

from __future__ import annotations

import types
from typing import Any, Callable, Dict, List

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training_hooks.core.hook import Training
from training_hooks.core.wraps import Wraps


class Loss:
    """Its parts are a method and an attribute, as a host's are."""

    def __init__(self) -> None:
        self.augment_pipe = None

    def run_G(self, z: str) -> str:
        return f"G({z})"


def around(name: str) -> Callable[[Any], Any]:
    return lambda inner: lambda z: f"{name}({inner(z)})"


def test_order_is_that_of_the_hooks_whenever_they_come() -> None:
    loss = Loss()
    training = Training({}, {}, loss=loss)
    for name, order in (("a", 0), ("c", 5), ("b", 0), ("first", -1)):
        training.wrap("run_G", around(name), order)
    assert loss.run_G("z") == "c(b(a(first(G(z)))))"


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=6), st.randoms())
def test_whatever_is_taken_off_the_others_stay_and_in_the_end_the_loss_is_as_it_was(
    wanted: "List[tuple[int, bool]]", random: Any
) -> None:
    loss = Loss()
    before: Dict[str, Any] = dict(vars(loss))
    wraps = Wraps(loss)
    made = [(wraps.add("run_G", around(str(i)), order), i, order, stays) for i, (order, stays) in enumerate(wanted)]
    gone = [wrap for wrap, *_, stays in made if not stays]
    random.shuffle(gone)
    for wrap in gone:
        wrap.remove()
        wrap.remove()
    expected = "G(z)"
    for _, i, _, stays in sorted(made, key=lambda each: each[2]):
        expected = f"{i}({expected})" if stays else expected
    assert loss.run_G("z") == expected
    wraps.clear()
    assert vars(loss) == before and loss.run_G("z") == "G(z)"


def test_an_attribute_that_is_none_can_be_wrapped_and_comes_back() -> None:
    loss, seen = Loss(), []
    wrap = Training({}, {}, loss=loss).wrap("augment_pipe", lambda inner: seen.append(inner) or "ours")
    assert loss.augment_pipe == "ours" and seen == [None]  # type: ignore[comparison-overlap]
    wrap.remove()
    assert vars(loss) == {"augment_pipe": None}


def test_a_wrapper_is_asked_anew() -> None:
    loss, names = Loss(), ["a"]
    training = Training({}, {}, loss=loss)

    def newest(inner: Any) -> Any:
        return around(names[-1])(inner)

    wrap = training.wrap("run_G", newest)
    training.wrap("run_G", around("outside"), 1)
    assert loss.run_G("z") == "outside(a(G(z)))"
    names.append("b")
    wrap.renew()
    assert loss.run_G("z") == "outside(b(G(z)))"


class Network(torch.nn.Module):
    """A generator of two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping, self.synthesis = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, z: torch.Tensor) -> Any:
        return self.synthesis(self.mapping(z))


def test_a_loss_that_asks_the_network_for_its_part_and_a_network_that_never_sees_it() -> None:
    G = Network()
    loss = types.SimpleNamespace(G=G)
    before, training = dict(vars(G)), Training({}, {}, loss=loss)
    z = torch.ones(2)
    for _ in range(2):
        wrap = training.wrap("G_synthesis", lambda inner: lambda ws: 2 * inner(ws))
        other = training.wrap("G_synthesis", lambda inner: lambda ws: 3 * inner(ws))
        assert loss.G.synthesis(loss.G.mapping(z)).tolist() == [6, 6]
        assert G(z).tolist() == loss.G(z).tolist() == [1, 1] and vars(G) == before
        wrap.remove()
        assert loss.G.synthesis(z).tolist() == [3, 3] and loss.G.mapping is G.mapping
        other.remove()
        assert loss.G is G


@pytest.mark.parametrize("loss", [Loss(), None])
def test_a_part_that_there_is_not(loss: Any) -> None:
    with pytest.raises(ValueError, match=f"goes through run_Q; {type(loss).__name__} has none"):
        Training({}, {}, loss=loss).wrap("run_Q", around("a"))
