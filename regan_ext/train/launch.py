"""Train a host that has not been edited: find it, attach to its command, run it."""

from __future__ import annotations

import functools
import runpy
import sys
from pathlib import Path
from typing import Any, List, Optional

import click

from ..hosts import embedded
from ..hosts.checkout import Checkout, HostError
from ..hosts.find import find_host
from ..support.text import echo
from . import world

__all__ = ["train"]

_NAME = "regan-ext train"  # as it was typed


def train(host: Optional[str], arguments: List[str]) -> None:
    """Run the host's training command with ``arguments``, which may contain this package's options.

    Raises:
        click.ClickException: no host, or the host cannot be had.
    """
    try:
        checkout, reason = find_host(host)
    except HostError as err:
        raise HostError(f"--host: {err}" if host else str(err)) from err
    if checkout is None:
        embedded.obtain()
    where = reason if checkout is None else f"{checkout} ({reason})"
    launched = world.around()
    if launched is None or launched.rank == 0:
        echo(f"Host: {where}", err=True)
    if checkout is not None:
        _train_checkout(checkout, arguments)
        return
    from ..hosts import embedded_train
    from .attach import attach

    attach(vars(embedded_train))
    _list_host(embedded_train.main)
    embedded_train.main.main(args=arguments, prog_name=_NAME)


def _list_host(command: click.Command) -> None:
    """Have ``--host``, which the host never sees, in its help; once, however often the command runs in this process."""
    if any(param.name == "host" for param in command.params):
        return
    default = "the current folder, else $STYLEGAN2_ADA, else embedded"
    where = f"Checkout to train, embedded, or embedded-stylegan3.  [default: {default}]"
    command.params.append(click.Option(["--host"], metavar="DIR", expose_value=False, help=where))


def _train_checkout(checkout: Checkout, arguments: List[str]) -> None:
    """Run ``train.py`` as the main program, attaching when its click command starts."""
    from .faults import explained_imports  # which imports torch, and doctor has to start without

    script = str(checkout.train_py)
    plain = click.Command.main

    def main(self: click.Command, *args: Any, **kwargs: Any) -> Any:
        click.Command.main = plain  # type: ignore[method-assign]
        from .attach import attach

        is_patched = "main" in vars(self)  # train.py's own two lines have attached, and this call comes by what they put there
        attach(sys.modules["__main__"].__dict__)
        _list_host(self)
        begin = functools.partial(plain, self) if is_patched else self.main
        return begin(*args, **{**kwargs, "prog_name": _NAME})

    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    click.Command.main = main  # type: ignore[method-assign]
    try:
        with explained_imports(checkout.path):
            runpy.run_path(script, run_name="__main__")
    finally:
        click.Command.main = plain  # type: ignore[method-assign]
