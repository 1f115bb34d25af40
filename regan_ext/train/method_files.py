"""The files that methods are given, checked before a run: whether they hold what their settings say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable, Mapping

from ..metrics.check import check_data
from ..support.errors import UserError
from ..support.text import echo
from . import options
from .methods import configured
from .resume_networks import open_networks, read_networks, sizes_of

__all__ = ["check"]

_WORDS = {"img_resolution": "resolution", "img_channels": "channels", "c_dim": "classes"}


def check(args: Any, request: options.Request, host: Callable[[str], Any], D: Any, is_dry: bool) -> None:
    """Check all of them.

    Args:
        args: keyword arguments of the loop.
        request: what was asked for.
        host: the host whose loop will run.
        D: of this run.
        is_dry: nothing of a pickle may be run.

    Raises:
        click.ClickException: one holds something else.
    """
    construct = host("dnnlib").util.construct_class_by_name
    for method, config in configured(request, args["batch_size"]):
        for each in method.settings:
            value, option = getattr(config, each.name), method.flag(each.name)
            if each.holds == "networks" and value:
                _check_networks(value, option, host, sizes_of(vars(D)), is_dry)
                if args.get("resume_pkl") and os.path.realpath(value) == os.path.realpath(args["resume_pkl"]):
                    echo(f"Note: {option} is the snapshot that the run begins with.", err=True)
            elif each.holds == "images" and value:
                check_data(value, args["training_set_kwargs"], construct, option, use_labels=True)


def _check_networks(path: str, option: str, host: Callable[[str], Any], sizes: Mapping[str, int], is_dry: bool) -> None:
    networks = read_networks(Path(path), option) if is_dry else open_networks(Path(path), host, option)
    for name, size in sizes.items() if networks is not None else ():
        theirs = networks.sizes.get(name, size)  # type: ignore[union-attr]
        if theirs != size:
            raise UserError(f"{option}: {path} is for images of {_WORDS[name]} {theirs}, this run's are of {size}")
