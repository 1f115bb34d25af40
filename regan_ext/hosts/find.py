"""Which host is meant: the one that is named, or the first of the places to look in."""

from __future__ import annotations

import os
from typing import Optional, Tuple

from ..support.paths import expanded
from . import embedded
from .checkout import Checkout, HostError, recognise

__all__ = ["find_host"]


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
