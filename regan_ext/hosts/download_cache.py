"""Where the hosts keep what they download."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["dnnlib_cache"]


def dnnlib_cache() -> Path:
    """Where the hosts keep downloads and the statistics of data sets; they look in this order."""
    if "DNNLIB_CACHE_DIR" in os.environ:
        return Path(os.environ["DNNLIB_CACHE_DIR"])
    home = os.environ.get("HOME", os.environ.get("USERPROFILE", tempfile.gettempdir()))
    return Path(home) / ".cache" / "dnnlib"
