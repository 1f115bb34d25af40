"""Which feature of a network is perturbed, and how what comes after it is computed anew."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, TypeVar

import torch

from ..method import Facts, Plan
from .config import AdvAugConfig

__all__ = ["Caught", "Place", "located", "outlook"]

_T = TypeVar("_T")
_SYNTHESIS = "synthesis"
_LAYERS = {"b4": "synthesis.b4.conv1", "head": "b4.out"}  # of StyleGAN2; elsewhere these are layers like others


def located(config: AdvAugConfig, half: str, names: Sequence[str]) -> str:
    """The module whose input (of D, or "synthesis") or output (a layer of G) is perturbed.

    Args:
        config: the settings.
        half: "g" or "d".
        names: of the network's weights and biases.

    Raises:
        ValueError: there is no such layer, or what comes after it cannot be computed alone.
    """
    place, network = (config.place_g, "G") if half == "g" else (config.place_d, "D")
    has_synthesis = any(name.startswith(f"{_SYNTHESIS}.") for name in names)
    if half == "g" and place == "w":
        if not has_synthesis:
            raise ValueError("place_g w is the input of G.synthesis, and this G has none; name a layer of G")
        return _SYNTHESIS
    layers = list(dict.fromkeys(name.partition(".weight")[0].partition(".parametrizations")[0] for name in names
                                if ".weight" in name))  # fmt: skip
    if half == "g" and has_synthesis:
        layers = [layer for layer in layers if layer.startswith(f"{_SYNTHESIS}.")]  # the mapping network is computed once
    found = _LAYERS[place] if _LAYERS.get(place) in layers else place
    if found not in layers:
        known = ", ".join(layers if len(layers) < 7 else [*layers[:3], "...", *layers[-3:]])
        raise ValueError(f"place_{half} {place!r} is no layer of {network} with weights; there are {known}")
    return found


def outlook(config: AdvAugConfig, facts: Facts) -> Plan:
    """What a run will do.

    Raises:
        ValueError: a place that a network does not have, or a loop that has the losses of D in one phase.
    """
    if config.is_idle:
        return Plan({}, ("AdvAug does nothing with a step or a weight of 0.",))
    places = {half: located(config, half, list(facts.shapes[half.upper()])) for half in config.halves}
    if "d" in config.halves and facts.optimizers["D"]["reg_interval"] is None:
        raise ValueError("halves: d needs a loop that regularises D in steps of their own, which this one does not")
    how = f"noise of {config.noise:g}" if config.noise else f"{config.steps} x {config.step:g}, direction {config.direction}"
    told = " and ".join(f"{half.upper()}'s {'w' if place == _SYNTHESIS else place}" for half, place in places.items())
    more = "once" if config.noise or config.steps == 1 else f"{config.steps} times"
    notes = [f"AdvAug perturbs {told} by {how}{' of each RMS' if config.relative else ''}."]
    if "g" in places:
        notes.append(f"Where G trains, images and D's logits are computed {more} more.")
    if places.get("d", _LAYERS["head"]) != _LAYERS["head"]:
        notes.append(f"Where D trains, its logits are computed {more} more, unless {places['d']} and all after it is linear.")
    return Plan({"places": places}, tuple(notes))


@dataclass(frozen=True)
class Caught:
    """A feature on its way through a network.

    Args:
        feature: [batch, ...], part of the graph.
        rest: what the network gives with another feature of the same shape, all else as it was called.
    """

    feature: torch.Tensor
    rest: Callable[[torch.Tensor], Any]


class Place:
    """The feature of a network that is perturbed. Nothing stays at its modules between two calls.

    Args:
        root: gives what computes the feature and all that comes after it, as it is at the moment.
        module: inside of it; None = the root itself.
        is_output: whether the feature is what the module gives; otherwise it is its first argument.
        name: of the place, for errors.
    """

    def __init__(self, root: Callable[[], torch.nn.Module], module: Optional[torch.nn.Module], is_output: bool, name: str):
        self._root, self._module, self._is_output, self._name = root, module, is_output, name

    def catch(self, compute: Callable[[], _T]) -> Tuple[_T, Caught]:
        """What is computed, and the feature on the way to it.

        Raises:
            RuntimeError: the feature is no batch, or was computed not at all, or more than once.
        """
        root = self._root()
        features: List[torch.Tensor] = []
        calls: List[Tuple[Tuple[Any, ...], Dict[str, Any]]] = []

        def keep(feature: torch.Tensor) -> torch.Tensor:
            known = feature if feature.requires_grad else feature.detach().requires_grad_()
            features.append(known.view_as(known))  # a node of its own in the graph
            return features[-1]

        def note(_: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
            calls.append((args, kwargs))

        handle = root.register_forward_pre_hook(note, with_kwargs=True)
        try:
            with self._changed(keep):
                result = compute()
        finally:
            handle.remove()
        if len(features) != 1 or len(calls) != 1:
            raise RuntimeError(f"AdvAug: {self._name} is computed {len(features)} times in a pass, and has to be once")
        ((args, kwargs),) = calls

        def rest(feature: torch.Tensor) -> Any:
            with self._changed(lambda _: feature):
                return root(*args, **kwargs)

        return result, Caught(features[0], rest)

    @contextlib.contextmanager
    def _changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        """While the block runs, the feature is what ``change`` makes of it."""

        def before(_: Any, args: Tuple[Any, ...]) -> Tuple[Any, ...]:
            return (change(self._checked(args[0] if args else None)), *args[1:])

        def after(_: Any, args: Any, output: Any) -> torch.Tensor:
            return change(self._checked(output))

        module = self._root() if self._module is None else self._module
        handle = module.register_forward_hook(after) if self._is_output else module.register_forward_pre_hook(before)
        try:
            yield
        finally:
            handle.remove()

    def _checked(self, feature: Any) -> torch.Tensor:
        if not isinstance(feature, torch.Tensor) or feature.ndim < 2 or not feature.is_floating_point():
            what = list(feature.shape) if isinstance(feature, torch.Tensor) else type(feature).__name__
            raise RuntimeError(f"AdvAug: the feature at {self._name} is no batch of numbers [batch, ...] but {what}")
        return feature
