"""What is known of the networks in a pickle that a run is to begin or go on from: opened by the host, or only read."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple

import torch

from training_hooks.core.health import non_finite
from training_hooks.core.tensor_files import checksum
from training_hooks.sparsity.selection import frozen_shapes, parameter_shapes

from ..support.errors import UserError
from ..support.inert_pickle import Inert, read_inert
from ..support.pickles import open_pickle, unpickle
from ..support.text import echo

__all__ = ["Networks", "fetch", "open_networks", "read_networks", "shapes_of", "sizes_of"]

_NEEDED = ("G", "D", "G_ema")  # of which the host copies
_SIZES = ("img_resolution", "img_channels", "c_dim")
HostModule = Callable[[str], Any]
_Shapes = Dict[str, Tuple[int, ...]]


@dataclass(frozen=True)
class Networks:
    """What a pickle holds.

    Args:
        shapes: "G" and "D" → name of a weight or bias → shape.
        training_set: the host's arguments of its training set; None where they are not known.
        augment_p: strength of augmentation; None where there is none.
        sums: network → name of a parameter → checksum of its values; empty where the pickle was only read.
        sizes: resolution, channels and classes of the images that D is for, by its own names, as far as it says them.
    """

    shapes: Mapping[str, _Shapes]
    training_set: Optional[Mapping[str, Any]]
    augment_p: Optional[float]
    sums: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)


def sizes_of(attributes: Mapping[str, Any]) -> Dict[str, int]:
    """What the attributes of a D say of the images that it is for."""
    return {name: attributes[name] for name in _SIZES if isinstance(attributes.get(name), int)}


def shapes_of(network: Any) -> _Shapes:
    """Of the weights and biases; those of frozen layers (``--freezed``) are buffers in the host's networks."""
    return {**parameter_shapes(network), **frozen_shapes(network)}


def _is_weight(name: str) -> bool:
    return name.split(".")[-1] in ("weight", "bias")


def fetch(url: str, host: HostModule) -> Path:
    """The file at an address, downloaded into the host's cache, from where the loop will take it.

    Raises:
        UserError: it cannot be had.
    """
    try:
        return Path(host("dnnlib").util.open_url(url, return_filename=True))
    except Exception as err:  # the host's function asserts, raises OSError, or what requests raises
        said = (str(err).splitlines() or [""])[0][:160]
        reason = f"{type(err).__name__}: {said}" if said else type(err).__name__
        raise UserError(f"--resume: {url} cannot be downloaded ({reason})") from err


def open_networks(path: Path, host: HostModule, option: str = "--resume") -> Networks:
    """Open a network pickle, which runs its code, as the host itself will.

    Args:
        path: of the pickle.
        host: the host whose loop will run.
        option: that named it.

    Raises:
        UserError: it cannot be opened, holds other things than the host needs, or weights that are not finite.
    """
    host("dnnlib")
    with _named(option), open_pickle(path) as file:
        content = unpickle(file, path, host("legacy").load_network_pkl)
    for kind in _NEEDED:
        unsound = non_finite(content[kind])
        if unsound:
            raise UserError(f"{option}: {path}: {kind}.{unsound[0]} holds NaN or an infinity; take an earlier snapshot")
    pipe = content.get("augment_pipe")
    p = None if pipe is None else float(pipe.p)
    shapes = {kind: shapes_of(content[kind]) for kind in ("G", "D")}
    sums = {kind: {name: checksum(each) for name, each in content[kind].named_parameters()} for kind in shapes}
    return Networks(shapes, content.get("training_set_kwargs"), p, sums, sizes_of(vars(content["D"])))


def read_networks(path: Path, option: str = "--resume") -> Optional[Networks]:
    """The same without running anything of the pickle; None for one of TensorFlow's, which the host has to convert.

    Args:
        path: of the pickle.
        option: that named it.

    Raises:
        UserError: it is no pickle, or holds other things than the host needs.
    """
    with _named(option), open_pickle(path) as file:
        content = unpickle(file, path, read_inert)
    unseen = "Dry run: nothing of {} was run, so whether its {} was not looked at."
    if isinstance(content, tuple) and len(content) == 3 and all(isinstance(item, Inert) for item in content):
        echo(unseen.format(path, "networks of TensorFlow can be converted and fit"), err=True)
        return None
    if not isinstance(content, dict) or not all(isinstance(content.get(kind), Inert) for kind in _NEEDED):
        held = ", ".join(map(str, [*content][:6])) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise UserError(f"{option}: {path} is no network pickle: it holds {held or 'nothing'}, not {', '.join(_NEEDED)}")
    echo(unseen.format(path, "code runs and its weights are finite"), err=True)
    known = content.get("training_set_kwargs")
    shapes = {kind: dict(_parameters(content[kind])) for kind in ("G", "D")}
    p, sizes = _augment_p(content.get("augment_pipe")), sizes_of(_attributes(content["D"]))
    return Networks(shapes, known if isinstance(known, dict) else None, p, sizes=sizes)


@contextlib.contextmanager
def _named(option: str) -> Iterator[None]:
    """Name the option in what is told of its pickle."""
    try:
        yield
    except UserError as err:
        raise UserError(f"{option}: {err.message}") from err


def _attributes(module: Any) -> Mapping[str, Any]:
    """Of a module: the host's persistent classes keep them one level deeper."""
    if not isinstance(module, Inert):
        return {}
    state = module.state
    if module.args and isinstance(module.args[0], dict) and isinstance(module.args[0].get("state"), dict):
        state = module.args[0]["state"]
    return state if isinstance(state, dict) else {}


def _children(module: Any, name: str) -> Mapping[str, Any]:
    found = _attributes(module).get(name)
    return found if isinstance(found, dict) else {}


def _parameters(module: Any, prefix: str = "", depth: int = 0) -> Iterator[Tuple[str, Tuple[int, ...]]]:
    """Name and shape of the weights and biases; what is nested deeper than any network is none."""
    for name, tensor in {**_children(module, "_parameters"), **_children(module, "_buffers")}.items():
        if isinstance(tensor, Inert) and (name in _children(module, "_parameters") or _is_weight(str(name))):
            yield f"{prefix}{name}", _shape(tensor)
    for name, child in _children(module, "_modules").items() if depth < 20 else ():
        yield from _parameters(child, f"{prefix}{name}.", depth + 1)


def _shape(made: Inert) -> Tuple[int, ...]:
    """Of a tensor, or of the one that a parameter wraps."""
    inner = made.args[0] if made.args else None
    args = inner.args if made.origin.endswith("_rebuild_parameter") and isinstance(inner, Inert) else made.args
    size = args[2] if len(args) > 2 else ()
    return size if isinstance(size, tuple) and all(isinstance(n, int) for n in size) else ()


def _augment_p(pipe: Any) -> Optional[float]:
    made = _children(pipe, "_buffers").get("p")
    if not isinstance(made, Inert) or not made.args or not isinstance(made.args[0], Inert) or not made.args[0].args:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # storages by type will go, and the host's pickles stay full of them
            return float(torch.load(io.BytesIO(made.args[0].args[0]), weights_only=True)[0])
    except Exception:  # bytes of any kind
        return None
