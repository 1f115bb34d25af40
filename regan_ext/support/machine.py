"""What every measurement says of the machine it was made on; ``python -m regan_ext.support.machine`` prints it."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any, Dict

import torch

from .. import __version__

__all__ = ["describe"]


def describe(device: str) -> Dict[str, Any]:
    """Machine, versions and date, as plain JSON values."""
    if device.startswith("cuda"):
        machine = torch.cuda.get_device_name(0)
    else:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if os.path.exists("/proc/cpuinfo") else []
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        machine = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
    return {
        "machine": machine,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "regan_ext": __version__,
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    print(json.dumps(describe("cuda" if torch.cuda.is_available() else "cpu")))
