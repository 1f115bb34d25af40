"""Opening a snapshot: whether it is trusted, and which host's classes it needs."""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Dict, Optional, Tuple

import click
import torch

from training_hooks.core import own_snapshots
from training_hooks.core.health import non_finite

from ..hosts import embedded
from ..hosts.checkout import HostError
from ..hosts.embedded_train import host_module
from ..hosts.find import find_host
from ..hosts.flavour import Flavour
from ..support.errors import UserError
from ..support.pickles import TRUST, foreign, open_pickle, unpickle
from ..support.text import echo, printable

__all__ = ["Snapshot", "open_snapshot", "prepare_host"]

_NEEDED = ("z_dim", "c_dim", "img_resolution")  # what the generators of all hosts have


@dataclass(frozen=True)
class Snapshot:
    """An opened network pickle.

    Args:
        path: of the file.
        data: its content, the host's dict of networks.
        flavour: family of the host that it was opened with; None for the embedded one.
    """

    path: Path
    data: Dict[str, Any]
    flavour: Optional[Flavour] = None

    @property
    def kimg(self) -> Optional[int]:
        """Thousands of images trained on, by the file's name; None where the name does not say."""
        match = re.search(r"network-snapshot-(\d+)$", self.path.stem)
        return None if match is None else int(match[1])

    def network(self, which: str) -> Any:
        """The generator ``which``, "G" or "G_ema".

        Raises:
            UserError: the pickle holds none, or something else by that name, or one whose weights are not finite.
        """
        network = self.data.get(which)
        if not isinstance(network, torch.nn.Module):
            raise UserError(f"{self.path} holds no network {which}; it holds {_listed(self.data)}")
        lacking = [name for name in _NEEDED if not hasattr(network, name)]
        if lacking:
            raise UserError(f"{self.path}: {which} is no generator, it has no {', '.join(lacking)}")
        unsound = non_finite(network)
        if unsound:
            where = f"{len(unsound)} tensors of {which}, such as {unsound[0]}, hold NaN or an infinity"
            raise UserError(f"{self.path}: {where}: its training had gone wrong; take an earlier snapshot")
        return network


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(file: IO[bytes], path: Path, trust: bool) -> None:
    """Go on only with what the user's own runs wrote or with the user's consent, because a pickle can run anything."""
    if trust or own_snapshots.is_own(file):
        return
    if not _on_terminal():
        raise UserError(f"{foreign(path)}; {TRUST}")
    click.confirm(printable(f"{foreign(path)}. Do you trust it?"), abort=True, err=True)


def prepare_host(given: Optional[str]) -> Tuple[str, Optional[Flavour]]:
    """Make a host's modules importable, which its pickles name.

    Args:
        given: as ``--host`` has it; None = as train finds it.

    Returns:
        What to call the host, and its family; None for the embedded one.

    Raises:
        UserError: there is none.
    """
    try:
        checkout, reason = find_host(given)
        if checkout is None:
            embedded.obtain()
    except HostError as err:
        raise UserError(str(err)) from err
    if checkout is None:
        host_module("dnnlib")
        return reason, None
    if str(checkout.path) not in sys.path:
        sys.path.insert(0, str(checkout.path))
    importlib.import_module("dnnlib")
    return f"{checkout} ({reason})", checkout.flavour


def open_snapshot(path: Path, host: Optional[str], trust: bool) -> Snapshot:
    """Unpickle a snapshot with the host that ``find_host`` finds.

    Args:
        path: the network pickle.
        host: the checkout whose classes it names; None = as train finds it.
        trust: open it without asking; else that takes a snapshot of the user's own runs, or an answer.

    Raises:
        UserError: consent was not given, no host, or the pickle cannot be opened or is not a host's.
        click.Abort: the user was asked, and said no.
    """
    with open_pickle(path) as file:
        _ask(file, path, trust)
        where, flavour = prepare_host(host)
        echo(f"Host: {where}; snapshot: {path}", err=True)
        data = unpickle(file, path)
    if not isinstance(data, dict) or "G_ema" not in data:
        what = f"a dict of {_listed(data)}" if isinstance(data, dict) and data else f"a {type(data).__name__}"
        raise UserError(f"{path} holds no G_ema but {what}: it is not a network snapshot")
    return Snapshot(path, data, flavour)


def _listed(data: Dict[Any, Any]) -> str:
    """The keys, as many as a line has room for."""
    names = [str(name)[:40] for name in itertools.islice(data, 8)]
    return ", ".join(names) + (f" and {len(data) - len(names)} more" if len(data) > len(names) else "")
