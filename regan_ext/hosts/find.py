"""Which host is meant: the one that is named, or the first of the places to look in."""

from __future__ import annotations

import os
from typing import Optional, Tuple

from ..support.paths import expanded
from . import embedded
from .checkout import Checkout, HostError, is_of_family, recognise

__all__ = ["EMBEDDED_STYLEGAN3", "find_host"]

EMBEDDED_STYLEGAN3 = "embedded-stylegan3"  # as --host names it


def find_host(given: Optional[str]) -> Tuple[Optional[Checkout], str]:
    """The host to train, and why it is this one. None stands for the embedded host.

    In order: ``given`` (a folder, "embedded", "embedded-stylegan3", or the wheel of both), the current folder, $STYLEGAN2_ADA,
    the embedded host.

    Raises:
        HostError: ``given`` or $STYLEGAN2_ADA is not a host, or the current folder is one that cannot be trained.
    """
    named = os.environ.get("STYLEGAN2_ADA") if given is None else None
    try:
        given = None if given is None else expanded(given)
        named = expanded(named) if named else None
    except ValueError as err:
        raise HostError(f"$STYLEGAN2_ADA: {err}" if named else str(err)) from err
    if given == "embedded":
        return None, "embedded StyleGAN2-ADA (--host)"
    if given == EMBEDDED_STYLEGAN3:
        return recognise(embedded.obtain(embedded.STYLEGAN3)), "embedded StyleGAN3, --host"
    if given is not None and embedded.is_wheel(given):
        embedded.unpack(given)
        return None, f"embedded StyleGAN2-ADA (from {given})"
    if given is not None:
        return recognise(given), "--host"
    if is_of_family("."):
        try:
            return recognise("."), "the current folder"
        except HostError as err:
            raise HostError(f"the current folder: {err}; --host=embedded takes the embedded host") from err
    if named:
        try:
            return recognise(named), "$STYLEGAN2_ADA"
        except HostError as err:
            raise HostError(f"$STYLEGAN2_ADA: {err}") from err
    return None, "embedded StyleGAN2-ADA"
