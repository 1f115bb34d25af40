"""Training images as the host's own data set class gives them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, List, Tuple

import numpy as np


def host_reads(path: Path, host_dir: Path) -> Tuple[List["np.ndarray[Any, Any]"], List[List[float]]]:
    """Images and labels as the host's own data set class gives them."""
    if str(host_dir) not in sys.path:
        sys.path.insert(0, str(host_dir))
    importlib.import_module("dnnlib")
    data = importlib.import_module("training.dataset").ImageFolderDataset(path=str(path), use_labels=True)
    assert data.resolution & (data.resolution - 1) == 0
    rows = [data[index] for index in range(len(data))]
    data.close()
    return [row[0] for row in rows], [list(row[1]) for row in rows]
