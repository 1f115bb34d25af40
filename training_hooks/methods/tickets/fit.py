"""Whether the files of a ticket are there, belong together, and are of a run's networks."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Optional, Sequence

from ...core.tensor_files import TensorFileError, checksum
from .config import TicketConfig
from .files import Init, Mask, read_init, read_mask

__all__ = ["check_begun", "check_init", "check_mask", "opened_init", "opened_mask"]

_Shapes = Mapping[str, Mapping[str, Sequence[int]]]  # network → name → shape


def opened_mask(config: TicketConfig) -> Optional[Mask]:
    """The masks of a round; None where it is dense.

    Raises:
        ValueError: the file cannot be used, or is another than it was.
    """
    if not config.mask:
        return None
    try:
        mask = read_mask(config.mask)
    except (TensorFileError, OSError) as err:
        raise ValueError(f"mask {err}") from err
    if config.mask_checksum not in (0, mask.checksum):
        raise ValueError(f"mask {config.mask} has checksum {mask.checksum}, not {config.mask_checksum}: it is another mask")
    return mask


def opened_init(config: TicketConfig, mask: Optional[Mask]) -> Optional[Init]:
    """The weights that a run begins with; None where it is the one that will write them.

    Args:
        config: settings of the run.
        mask: masks of its round.

    Raises:
        ValueError: the file cannot be used or written, or the mask was found with other weights.
    """
    path = Path(config.init)
    if not path.exists():
        if mask is not None and not config.transfer:
            raise ValueError(
                f"init {path} is not there, and {config.mask} was found with its weights; give the file that round 0 wrote, or "
                "--ticket-transfer=true (tickets train: --transfer) for other weights"
            )
        if not path.parent.is_dir():
            raise ValueError(f"init {path} cannot be written: there is no folder {path.parent}")
        return None
    try:
        init = read_init(path)
    except (TensorFileError, OSError) as err:
        raise ValueError(f"init {err}") from err
    if mask is not None and mask.init != init.checksum and not config.transfer:
        raise ValueError(
            f"mask {config.mask} was found with other weights than {path} has; give the file of its own round 0, or "
            "--ticket-transfer=true (tickets train: --transfer) if it is meant"
        )
    return init


def check_mask(config: TicketConfig, mask: Mask, trained: _Shapes, shapes: _Shapes) -> None:
    """Check that masks are of a run's parameters.

    Args:
        config: settings of the run.
        mask: masks of its round.
        trained: "G" and "D", those that there are → name of a parameter → shape.
        shapes: the same with frozen weights and biases.

    Raises:
        ValueError: they are not.
    """
    for kind, masked in mask.shapes.items():
        if kind not in shapes:
            raise ValueError(f"mask {config.mask} is of {kind} too, which this run has not")
        frozen = [name for name in masked if name in shapes[kind] and name not in trained[kind]]
        if frozen:
            raise ValueError(
                f"mask {config.mask} prunes {kind}.{frozen[0]}, which is frozen in this run; take one that was found with the "
                "same layers frozen"
            )
        other = _differing(masked, trained[kind], kind, "the file", "this run")
        if other:
            raise ValueError(f"mask {config.mask} is of other networks: {other}")


def check_init(config: TicketConfig, init: Init, shapes: _Shapes) -> None:
    """Check that initial weights are of a run's networks.

    Args:
        config: settings of the run.
        init: what it will begin with.
        shapes: network → name of a parameter or buffer, as far as they are known → shape.

    Raises:
        ValueError: they are not.
    """
    for kind, wanted in shapes.items():
        tensors = init.networks.get(kind, {} if kind != "G_ema" else init.networks["G"])
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        other = _differing(wanted, found, kind, "this run", "the file")
        if other:
            raise ValueError(f"init {config.init} is of other networks: {other}")


def check_begun(config: TicketConfig, init: Init, begun: Mapping[str, Mapping[str, int]], where: str) -> None:
    """Check that a run that begins from a snapshot begins from the one that θ₀ is of: nobody means to throw it away.

    Args:
        config: settings of the run.
        init: what it will begin with.
        begun: "G" and "D" of the snapshot → name of a parameter → ``checksum`` of its values.
        where: the snapshot, for the message.

    Raises:
        ValueError: it is another.
    """
    for kind, sums in begun.items():
        tensors = init.networks.get(kind, {})
        other = next((name for name, value in sums.items() if name not in tensors or checksum(tensors[name]) != value), None)
        if other is not None:
            raise ValueError(
                f"init {config.init} has other weights than {where} ({kind}.{other} first), and a run cannot begin with both: "
                "leave out --resume, or name a new file for the weights, with --ticket-transfer=true (tickets train: "
                "--transfer) for a mask"
            )


def _differing(
    wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]], kind: str, here: str, there: str
) -> str:
    """The first name in ``wanted``, what ``here`` has, that ``there`` lacks or has in another shape; "" without one."""
    for name, shape in wanted.items():
        if name not in found:
            return f"{here} has {kind}.{name}, and {there} has not"
        if tuple(found[name]) != tuple(shape):
            return f"{kind}.{name} is {list(shape)} in {here}, {list(found[name])} in {there}"
    return ""
