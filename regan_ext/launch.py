"""Train a host that has not been edited: find it, attach to its command, run it."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any, List, Optional, Tuple

import click

from .hosts import embedded
from .hosts.checkout import Checkout, HostError, recognise
from .support.paths import expanded
from .support.text import echo

__all__ = ["find_host", "train"]

_NAME = "regan-ext train"  # as it was typed


def find_host(given: Optional[str]) -> Tuple[Optional[Checkout], str]:
    """The host to train, and why it is this one. None stands for the embedded host.

    In order: ``given`` (a folder, "embedded", or the embedded host's wheel), the current folder, $STYLEGAN2_ADA, the
    embedded host.

    Raises:
        HostError: ``given`` or $STYLEGAN2_ADA is not a host.
    """
    named = os.environ.get("STYLEGAN2_ADA")
    try:
        given = None if given is None else expanded(given)
        named = expanded(named) if named else None
    except ValueError as err:
        raise HostError(str(err)) from err
    if given == "embedded":
        return None, "embedded StyleGAN2-ADA (--host)"
    if given is not None and embedded.is_wheel(given):
        embedded.unpack(given)
        return None, f"embedded StyleGAN2-ADA (from {given})"
    if given is not None:
        return recognise(given), "--host"
    try:
        return recognise("."), "the current folder"
    except HostError:
        pass  # the current folder is only one of the places to look in
    if named:
        return recognise(named), "$STYLEGAN2_ADA"
    return None, "embedded StyleGAN2-ADA"


def train(host: Optional[str], arguments: List[str]) -> None:
    """Run the host's training command with ``arguments``, which may contain this package's options.

    Raises:
        click.ClickException: no host, or the host cannot be had.
    """
    try:
        checkout, reason = find_host(host)
    except HostError as err:
        raise HostError(f"{'--host' if host else '$STYLEGAN2_ADA'}: {err}") from err
    if checkout is None:
        embedded.obtain()
    where = reason if checkout is None else f"{checkout.path} ({reason})"
    echo(f"Host: {where}", err=True)
    if checkout is None:
        _train_embedded(arguments)
    else:
        _train_checkout(checkout, arguments)


def _list_host(command: click.Command) -> None:
    """Have ``--host``, which the host never sees, in its help; once, however often the command runs in this process."""
    if any(param.name == "host" for param in command.params):
        return
    where = "Checkout to train, or embedded.  [default: the current folder, else $STYLEGAN2_ADA, else embedded]"
    command.params.append(click.Option(["--host"], metavar="DIR", expose_value=False, help=where))


def _train_embedded(arguments: List[str]) -> None:
    from .attach import attach
    from .hosts import embedded_train

    attach(vars(embedded_train))
    _list_host(embedded_train.main)
    embedded_train.main.main(args=arguments, prog_name=_NAME)


def _train_checkout(checkout: Checkout, arguments: List[str]) -> None:
    """Run ``train.py`` as the main program, attaching when its click command starts."""
    from .faults import explained_imports  # which imports torch, and doctor has to start without

    script = str(checkout.train_py)
    plain = click.Command.main

    def main(self: click.Command, *args: Any, **kwargs: Any) -> Any:
        click.Command.main = plain  # type: ignore[method-assign]
        from .attach import attach

        attach(sys.modules["__main__"].__dict__)
        _list_host(self)
        return plain(self, *args, **{**kwargs, "prog_name": _NAME})

    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    click.Command.main = main  # type: ignore[method-assign]
    try:
        with explained_imports(checkout.path):
            runpy.run_path(script, run_name="__main__")
    finally:
        click.Command.main = plain  # type: ignore[method-assign]
