"""Feature statistics of real images, kept by what they were computed from.

The host keeps them by the path of the data set and the name of the detector, and would serve those of other images where a
folder was changed in place. Here the images and the detector are told by their hashes. The files lie beside the host's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import torch

from training_hooks.core.files import tolerate_write_failure, whole_path

from ..support.text import echo
from .content import Content, read_content
from .protocol import detector_name, detector_sha256

__all__ = ["StatisticsCache"]


_FEW = 2000  # images


class StatisticsCache:
    """Statistics on disk.

    Args:
        utils: the host's metric_utils.
        get_detector: its function that loads a detector, in one process first.
    """

    def __init__(self, utils: Any, get_detector: Callable[..., Any]):
        self._utils = utils
        self._get_detector = get_detector

    def statistics(
        self, compute: Callable[..., Any], opts: Any, detector_url: str, detector_kwargs: Any, **kwargs: Any
    ) -> Tuple[Any, Optional[Content]]:
        """The statistics of the data set of ``opts``, computed where they are not there yet, and what the data set holds.

        Args:
            compute: the host's function, with its own cache; that is not used.
            opts: the host's options of a metric.
            detector_url: address or path of the detector.
            detector_kwargs: what it is called with.
            kwargs: further arguments of ``compute``.
        """
        # Before its hash is asked for, so that one process downloads it and the others wait.
        self._get_detector(url=detector_url, device=opts.device, num_gpus=opts.num_gpus, rank=opts.rank)
        folder = Path(self._utils.dnnlib.make_cache_dir_path("gan-metrics"))
        path = opts.dataset_kwargs.get("path")
        content = read_content(Path(path), folder) if isinstance(path, str) and Path(path).exists() else None
        file = folder / self._name(opts, content, detector_url, detector_kwargs, kwargs) if opts.cache else None
        if file is not None and self._is_there(file, opts):
            return self._utils.FeatureStats.load(str(file)), content
        cache, opts.cache = opts.cache, False
        if opts.device.type == "cpu" or (content is not None and content.images <= _FEW):
            # Starting processes that load data would take longer than the loading, and there is no pinned memory on the CPU.
            kwargs = {"data_loader_kwargs": {"num_workers": 0}, **kwargs}
        try:
            # The loader draws a number; without that, a value depends on the seed and not on what the cache knows.
            with torch.random.fork_rng(devices=[]):
                stats = compute(opts, detector_url, detector_kwargs, **kwargs)
        finally:
            opts.cache = cache
        if file is not None and opts.rank == 0:
            _save(stats, file)
        return stats, content

    def _name(self, opts: Any, content: Optional[Content], url: str, detector_kwargs: Any, kwargs: Any) -> str:
        """Of the file: a hash of all that the statistics depend on."""
        util = self._utils.dnnlib.util
        without_path = {key: value for key, value in opts.dataset_kwargs.items() if key != "path" or content is None}
        length = len(util.construct_class_by_name(**opts.dataset_kwargs))
        most = kwargs.get("max_items")
        capture = {key: value for key, value in kwargs.items() if key.startswith("capture_")}
        facts = {
            "images": None if content is None else content.sha256,
            "arguments": without_path,
            "number": length if most is None else min(length, most),
            "detector": detector_sha256(url, util.open_url),
            "call": detector_kwargs,
            "statistics": capture,
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()
        return f"regan-{detector_name(url)}-{key[:40]}.pkl"

    def _is_there(self, file: Path, opts: Any) -> bool:
        """Whether the file can be read, as the first process finds it; all processes agree."""
        found = False
        if opts.rank == 0 and file.is_file():
            try:
                self._utils.FeatureStats.load(str(file))
                found = True
            except Exception as err:  # a pickle that was cut short fails in many ways
                echo(f"{file} cannot be read and is made anew ({type(err).__name__}: {err})")
        if opts.num_gpus > 1:
            flag = torch.tensor(float(found), device=opts.device)
            torch.distributed.broadcast(tensor=flag, src=0)
            found = bool(float(flag))
        return found


def _save(stats: Any, file: Path) -> None:
    """Write the statistics, whole or not at all; without them the next evaluation takes longer, nothing else."""
    with tolerate_write_failure(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_path(file) as temporary:
            stats.save(str(temporary))
