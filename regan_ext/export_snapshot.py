"""Opening a snapshot: what can be known without running it, whether it is trusted, and which host's classes it needs."""

from __future__ import annotations

import importlib
import pickle
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

import click
import torch

from training_hooks.health import non_finite

from .errors import UserError
from .hosts import embedded
from .hosts.checkout import HostError
from .hosts.embedded_train import host_module
from .launch import find_host
from .support.text import echo

__all__ = ["Snapshot", "check_bytes", "check_trust", "open_snapshot"]

_NEEDED = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping", "synthesis")


@dataclass(frozen=True)
class Snapshot:
    """An opened network pickle.

    Args:
        path: of the file.
        data: its content, the host's dict of networks.
    """

    path: Path
    data: Dict[str, Any]

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
            raise UserError(f"{self.path} holds no network {which}; it holds {', '.join(map(str, self.data)) or 'nothing'}")
        lacking = [name for name in _NEEDED if not hasattr(network, name)]
        if lacking:
            raise UserError(f"{self.path}: {which} is no generator of StyleGAN2-ADA, it has no {', '.join(lacking)}")
        unsound = non_finite(network)
        if unsound:
            where = f"{len(unsound)} tensors of {which}, such as {unsound[0]}, hold NaN or an infinity"
            raise UserError(f"{self.path}: {where}: its training had gone wrong; take an earlier snapshot")
        return network


def check_bytes(path: Path) -> None:
    """Refuse what is not a whole pickle, without opening it.

    Raises:
        UserError: no such file, or its first or last byte is not a pickle's.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        with open(path, "rb") as file:
            begin = file.read(4)
            file.seek(max(0, path.stat().st_size - 1))
            end = file.read(1)
    except OSError as err:
        raise UserError(f"{path} cannot be read: {err.strerror}") from err
    if begin == b"PK\x03\x04":
        raise UserError(f"{path} is not a network pickle but a zip archive, such as torch.save writes")
    if begin[:1] != b"\x80":
        raise UserError(f"{path} is not a network pickle (network-snapshot-NNNNNN.pkl)")
    if end != b".":
        raise UserError(f"{path} is cut short: it begins as a pickle but does not end as one")


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def check_trust(path: Path, trust: bool) -> None:
    """Go on only with the user's consent, because a pickle can run anything.

    Raises:
        UserError: consent was not given, and there is no terminal to ask on.
        click.Abort: the user said no.
    """
    if trust:
        return
    if not _on_terminal():
        raise UserError(
            f"{path} is a pickle, and opening a pickle runs the code in it; add --trust if you know where it is from"
        )
    click.confirm(f"{path} is a pickle, and opening a pickle runs the code in it. Do you trust it?", abort=True)


def _prepare_host(given: Optional[str]) -> str:
    """Make the host's modules importable, which the pickle names; returns what to call the host."""
    try:
        checkout, reason = find_host(given)
        if checkout is None:
            embedded.obtain()
    except HostError as err:
        raise UserError(str(err)) from err
    if checkout is None:
        host_module("dnnlib")
        return reason
    if str(checkout.path) not in sys.path:
        sys.path.insert(0, str(checkout.path))
    importlib.import_module("dnnlib")
    return f"{checkout.path} ({reason})"


def open_snapshot(path: Path, host: Optional[str]) -> Snapshot:
    """Unpickle a trusted snapshot with the host that ``find_host`` finds.

    Raises:
        UserError: no host, or the pickle cannot be opened or is not a host's.
    """
    where = _prepare_host(host)
    echo(f"Host: {where}", err=True)
    try:
        with open(path, "rb") as file:
            data = pickle.load(file)
    except Exception as err:  # the code in a pickle can fail in any way
        said = str(err).splitlines() or [""]
        raise UserError(f"{path} cannot be opened as a network pickle ({type(err).__name__}: {said[0][:160]})") from err
    if not isinstance(data, dict) or "G_ema" not in data:
        what = f"a dict of {', '.join(map(str, data))}" if isinstance(data, dict) and data else f"a {type(data).__name__}"
        raise UserError(f"{path} holds no G_ema but {what}: it is not a network snapshot")
    return Snapshot(path, data)
