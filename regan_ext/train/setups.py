"""Where a host makes the keyword arguments of its loop, as a function of its options, whatever the shape of its ``train.py``.

A host of the shape of StyleGAN2-ADA-PyTorch has such a function, and its command calls it. One of the shape of stylegan3 makes
them in the command itself, which hands them to a function that launches the processes.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, Tuple

from ..hosts.flavour import Flavour

__all__ = ["Setup", "own_setup", "replaced", "with_setup"]

Setup = Callable[..., Tuple[str, Any]]  # options of the host → description of the run, keyword arguments of the loop
_Namespace = Dict[str, Any]


class _Made(Exception):
    """Ends a command that has made its arguments."""

    def __init__(self, description: str, args: Any):
        self.made = description, args


def own_setup(namespace: _Namespace, flavour: Flavour, command: Callable[..., Any]) -> Setup:
    """The host's own function from its options to the arguments. It launches nothing.

    Args:
        namespace: of its ``train.py``.
        flavour: family of hosts that it is of.
        command: what its click command calls.
    """
    if not flavour.is_handed:
        setup: Setup = namespace[flavour.setup]
        return setup

    def capture(c: Any, desc: str, **launch: Any) -> None:
        raise _Made(desc, c)

    def make(**options: Any) -> Tuple[str, Any]:
        with replaced(namespace, flavour.setup, capture):
            try:
                command(**options)
            except _Made as end:
                return end.made
        raise RuntimeError(f"the host's command has not come to {flavour.setup}")

    return make


@contextlib.contextmanager
def with_setup(
    namespace: _Namespace, flavour: Flavour, command: Callable[..., Any], setup: Setup
) -> Iterator[Callable[..., Any]]:
    """The host's command, training with the arguments that another setup makes.

    Args:
        namespace: of its ``train.py``, which is as it was afterwards.
        flavour: family of hosts that it is of.
        command: what its click command calls.
        setup: makes the arguments, before the host looks at its options where it is handed them.
    """
    plain = namespace[flavour.setup]

    def run(**options: Any) -> Any:
        description, args = setup(**options)

        def launch(c: Any, desc: str, **rest: Any) -> Any:
            try:
                return plain(c=args, desc=description, **rest)
            finally:  # the command may read there what was launched
                c.clear()
                c.update(args)

        with replaced(namespace, flavour.setup, launch):
            return command(**options)

    if flavour.is_handed:
        yield run
        return
    with replaced(namespace, flavour.setup, setup):
        yield command


@contextlib.contextmanager
def replaced(namespace: _Namespace, name: str, value: Any) -> Iterator[None]:
    """Let ``name`` stand for ``value`` while the block runs."""
    before, namespace[name] = namespace[name], value
    try:
        yield
    finally:
        namespace[name] = before
