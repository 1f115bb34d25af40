"""The two files that ticket runs hand to each other: the weights that every round begins with, and the masks of a round.

Both are written whole or not at all, load with ``weights_only=True``, and are checked when they are read.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import torch

from ...core.state_check import averages
from ...core.tensor_files import TensorFileError, checksum, load_tensors, save_tensors
from ...sparsity.masks import count_bits, pack_bits, unpack_bits

__all__ = ["Init", "Mask", "init_of", "read_init", "read_mask", "tensors_of", "write_init", "write_mask"]

_VERSION = 1
_INIT, _MASK = "regan-ext ticket init", "regan-ext ticket mask"
_Tensors = Mapping[str, Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Init:
    """θ₀, the weights and buffers that every round of a ticket begins with.

    Args:
        networks: "G", "D" and, where it is not as G, "G_ema" → name of a parameter or buffer → tensor on the CPU, of the
            network's own dtype and shape.
    """

    networks: _Tensors

    @cached_property
    def checksum(self) -> int:
        """A number that differs, but for chance, where any name, shape or value differs."""
        return _checksum(self.networks)


@dataclass(frozen=True)
class Mask:
    """The masks of one round of a ticket.

    Args:
        networks: "G", "D" or both, those that are pruned → name of a parameter → bool tensor on the CPU, of the parameter's
            shape, True where kept. A parameter without one is dense.
        round: how many times it was pruned; 0 is dense.
        rule: how it was chosen, as JSON, for whoever reads it.
        init: checksum of the ``Init`` that it was found with.
        before: checksum of the mask that it was pruned from; None where there was none.
    """

    networks: _Tensors
    round: int
    rule: Mapping[str, Any]
    init: int
    before: Optional[int] = None

    @cached_property
    def checksum(self) -> int:
        """A number that differs, but for chance, where any name, shape or bit differs."""
        return _checksum(_packed(self.networks), self.shapes)

    @property
    def shapes(self) -> Dict[str, Dict[str, Tuple[int, ...]]]:
        """Network → name → shape."""
        return {kind: {name: tuple(keep.shape) for name, keep in keeps.items()} for kind, keeps in self.networks.items()}

    def sparsity(self, network: str) -> float:
        """Share of the weights of "G" or "D" in scope that are pruned; 0 of a network without masks."""
        keeps = self.networks.get(network, {}).values()
        kept = sum(int(torch.count_nonzero(keep)) for keep in keeps)
        return 1 - kept / sum(keep.numel() for keep in keeps) if keeps else 0.0


def _packed(networks: _Tensors) -> Dict[str, Dict[str, torch.Tensor]]:
    return {kind: {name: pack_bits(keep) for name, keep in keeps.items()} for kind, keeps in networks.items()}


def _checksum(networks: _Tensors, shapes: Any = None) -> int:
    value = zlib.crc32(repr(shapes).encode())
    for kind, tensors in networks.items():
        for name, tensor in tensors.items():
            value = zlib.crc32(f"{kind} {name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
            value = checksum(tensor, value)
    return value


def init_of(networks: Mapping[str, torch.nn.Module]) -> Init:
    """θ₀ of networks that are about to train, every parameter and buffer copied.

    Moving averages of G (such as StyleGAN2's ``w_avg``) are those of G_ema, where there is one: hosts feed uninitialised memory
    into G's own when they print a summary of it.

    Args:
        networks: "G" and, where they are there, "D" and "G_ema".
    """
    G, average = networks["G"], networks.get("G_ema")
    copied = {name: _copied(networks[name]) for name in ("G", "D") if name in networks}
    if average is not None:
        copied["G"].update({name: value for name, value in _copied(average).items() if name in averages(G)})
        parameters = dict(average.named_parameters())
        if any(name in parameters and not torch.equal(p, parameters[name]) for name, p in G.named_parameters()):
            copied["G_ema"] = _copied(average)
    return Init(copied)


def _copied(network: torch.nn.Module) -> Dict[str, torch.Tensor]:
    copied = ((name, tensor.detach().cpu()) for name, tensor in tensors_of(network).items())
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in copied}


def tensors_of(network: torch.nn.Module) -> Dict[str, torch.Tensor]:
    """Name → parameter or buffer."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


# ---------------------------------------------------------------- files


def write_init(init: Init, path: "str | Path") -> None:
    """Write θ₀.

    Raises:
        OSError: it cannot be written.
    """
    networks = {kind: dict(tensors) for kind, tensors in init.networks.items()}
    save_tensors({"format": _INIT, "version": _VERSION, "networks": networks, "checksum": init.checksum}, path)


def read_init(path: "str | Path") -> Init:
    """Read what ``write_init`` has written.

    Raises:
        TensorFileError: it is missing, damaged or no such file; the message names it.
    """
    content = _load(path, _INIT, "ticket's file of initial weights")
    try:
        init = Init({str(kind): dict(tensors) for kind, tensors in content["networks"].items()})
        is_sound = {"G"} <= set(init.networks) <= {"G", "D", "G_ema"} and init.checksum == content["checksum"]
    except Exception as err:  # values of another type fail in many ways
        raise TensorFileError(f"{path}: its fields are missing or absurd ({type(err).__name__}: {err})") from err
    if not is_sound:
        raise TensorFileError(f"{path}: its networks or their checksum are absurd")
    return init


def write_mask(mask: Mask, path: "str | Path") -> None:
    """Write the masks of a round, one bit a weight, with names, shapes and counts.

    Raises:
        OSError: it cannot be written.
    """
    packed, shapes = _packed(mask.networks), mask.shapes
    networks = {
        kind: {
            "names": list(keeps),
            "shapes": [list(shapes[kind][name]) for name in keeps],
            "kept": [count_bits(bits) for bits in keeps.values()],
            "keep": list(keeps.values()),
        }
        for kind, keeps in packed.items()
    }
    about = {"round": mask.round, "rule": dict(mask.rule), "init": mask.init, "before": mask.before}
    save_tensors({"format": _MASK, "version": _VERSION, **about, "networks": networks, "checksum": mask.checksum}, path)


def read_mask(path: "str | Path") -> Mask:
    """Read what ``write_mask`` has written.

    Raises:
        TensorFileError: it is missing, damaged or no such file; the message names it.
    """
    content = _load(path, _MASK, "ticket's mask file")
    try:
        networks = {str(kind): _unpacked(saved) for kind, saved in content["networks"].items()}
        about = {name: content[name] for name in ("round", "rule", "init", "before")}
        mask = Mask(networks, **about)
        whole = (mask.round, mask.init, content["checksum"], 0 if mask.before is None else mask.before)
        is_sound = all(type(number) is int and number >= 0 for number in whole) and isinstance(mask.rule, dict)
        is_sound = is_sound and set(networks) <= {"G", "D"} and mask.checksum == content["checksum"]
    except Exception as err:  # values of another type fail in many ways
        raise TensorFileError(f"{path}: its fields are missing or absurd ({type(err).__name__}: {err})") from err
    if not is_sound or not any(networks.values()):
        raise TensorFileError(f"{path}: its masks, their round or their checksum are absurd")
    return mask


def _load(path: "str | Path", format: str, what: str) -> Dict[str, Any]:
    content = load_tensors(path, format, what)
    if content.get("version") != _VERSION:
        raise TensorFileError(f"{path}: version {content.get('version')}, this regan-ext reads version {_VERSION}")
    return content


def _unpacked(saved: Mapping[str, Any]) -> Dict[str, torch.Tensor]:
    """Name → mask.

    Raises:
        ValueError: counts, shapes and bits do not fit each other.
    """
    parts = [saved[name] for name in ("names", "shapes", "kept", "keep")]
    if len({len(part) for part in parts}) != 1:
        raise ValueError("names, shapes, counts and masks are not as many")
    keeps: Dict[str, torch.Tensor] = {}
    for name, shape, kept, bits in zip(*parts):
        if count_bits(bits) != kept or not 0 < kept <= math.prod(shape):
            raise ValueError(f"the mask of {name} keeps {count_bits(bits)} of {shape}, not {kept}")
        keeps[str(name)] = unpack_bits(bits, torch.Size(shape))
    return keeps
