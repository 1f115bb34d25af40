"""The running average of a generator's weights, whoever keeps it and however."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple, Union

import torch

from .ranks import bare

__all__ = ["Average", "averaged"]

#: A network, what keeps one (``torch.optim.swa_utils.AveragedModel``, ema-pytorch's ``EMA``), or the tensors alone.
Average = Union[torch.nn.Module, Sequence[torch.Tensor], Mapping[str, torch.Tensor]]


class _OfTensors(torch.nn.Module):
    """A generator with other weights, which somebody else keeps and updates in place.

    Args:
        generator: whose weights are averaged.
        tensors: name of each of its parameters → average, in the same shape.
    """

    def __init__(self, generator: torch.nn.Module, tensors: Dict[str, torch.Tensor]):
        super().__init__()
        vars(self).update(_generator=generator, _tensors=tensors)  # no part of it, and no parameters

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(vars(self)["_generator"], vars(self)["_tensors"], args, kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[Tuple[str, Any]]:
        yield from vars(self)["_tensors"].items()

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return dict(self.named_parameters())

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        for name, tensor in self.named_parameters():
            tensor.copy_(state_dict[name])


def averaged(given: Average, generator: torch.nn.Module) -> Tuple[torch.nn.Module, Dict[str, torch.Tensor]]:
    """The network of averaged weights, and what else its keeper counts with, such as the number of averages so far.

    Args:
        given: the average, see ``Average``; a sequence of tensors has one for each parameter of the generator, in their order.
        generator: whose weights are averaged, bare.

    Raises:
        ValueError: it is none, or not of this generator.
    """
    kept = given.module if isinstance(given, torch.optim.swa_utils.AveragedModel) else getattr(given, "ema_model", given)
    if isinstance(given, torch.nn.Module) and isinstance(kept, torch.nn.Module):
        return bare(kept), {} if kept is given else dict(given.named_buffers(recurse=False))
    if kept is None:
        raise ValueError("the EMA has no network yet; its first update() makes it, and has to come before the loop")
    return _OfTensors(generator, _tensors(given, dict(generator.named_parameters()))), {}


def _tensors(given: Any, parameters: Mapping[str, torch.Tensor]) -> Dict[str, torch.Tensor]:
    """The averages of the parameters by their names."""
    if not isinstance(given, (Mapping, Sequence)) or isinstance(given, str):
        raise ValueError(f"the average has to be a network, or the tensors of one, got a {type(given).__name__}")
    named = dict(given if isinstance(given, Mapping) else zip(parameters, given))
    found = {name: named[name] for name, p in parameters.items() if getattr(named.get(name), "shape", None) == p.shape}
    if len(found) != len(parameters) or (len(given) != len(parameters) and not isinstance(given, Mapping)):
        raise ValueError(
            f"the averaged tensors are those of G's {len(parameters)} parameters, in their order or by their names; "
            f"of the {len(given)} given, {len(found)} fit"
        )
    return found
