"""What is put into the host's metrics in every process: another reference or detector, a cache by content, the protocol.

The host's modules call one another by name, so that a function put in the place of another is found by all of them. What is
computed stays the host's own code.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ContextManager, Dict, Iterator, Mapping, Optional

import torch

from training_hooks.core.health import non_finite
from training_hooks.core.random_state import kept_random_states
from training_hooks.nvidia.current import engine_or_none
from training_hooks.nvidia.host_loop import HostLoop

from ..hosts.detectors import downloaded, torchscript_in_place_of
from .check import reference_of, too_few
from .content import read_content
from .protocol import Protocol, detector_sha256
from .registry import register
from .settings import MetricSettings

__all__ = ["install"]

_INSTALLED = "_regan_ext_installed"
_CPU = torch.device("cpu")
_FEW = 2000  # images
_ROWS = 256  # vectors that are compared with all others at a time
_DIRECT = 25  # vectors; PyTorch compares no more than these one by one, for which the CPU knows no half precision


def install(metric_main: ModuleType, settings: MetricSettings) -> None:
    """Make the host's metrics of this process those of ``settings``. Once more replaces the settings.

    Args:
        metric_main: the host's module of that name.
        settings: what was asked for.
    """
    register(metric_main, settings.names)
    utils = importlib.import_module("metrics.metric_utils")
    replaced = [
        (vars(metric_main), ("calc_metric", "report_metric")),
        (vars(utils), _Metrics.replaced),
        (vars(importlib.import_module("metrics.precision_recall")), ("compute_pr", "compute_distances")),
    ]
    plain = vars(metric_main).setdefault(_INSTALLED, {name: functions[name] for functions, names in replaced for name in names})
    ours = _Metrics(utils, settings, plain)
    for functions, names in replaced:
        functions.update({name: getattr(ours, name) for name in names})


class _Metrics:
    """The functions that stand in for the host's, whose own are ``plain``, by their names."""

    replaced = ("compute_feature_stats_for_dataset", "compute_feature_stats_for_generator", "get_feature_detector")

    def __init__(self, utils: Any, settings: MetricSettings, plain: Dict[str, Any]):
        self._utils = utils
        self._settings = settings
        self._plain = plain
        self._protocol: Optional[Protocol] = None
        self._metric = ""  # the one that is being computed
        self._easy = utils.dnnlib.EasyDict
        # Files of TorchScript that are opened here, by their addresses or paths.
        self._scripts = {} if settings.detector is None else {settings.detector: settings.detector}

    # ---------------------------------------------------------------- metric_main

    def calc_metric(self, metric: str, **kwargs: Any) -> Any:
        """The host's result with the protocol in it; without values where this snapshot is passed over.

        The random states of a run with a method are kept, so that it does not depend on when it is measured; those of a run
        without are the host's own.
        """
        unsound = kwargs.get("G") is not None and bool(non_finite(kwargs["G"]))
        if unsound and kwargs.get("rank", 0) == 0:
            print(f"{metric} is not measured: weights of the generator are not finite.", file=sys.stderr, flush=True)
        if unsound or not _is_due(self._settings.every):
            return self._easy(metric=metric, results=self._easy(), passed_over=True)
        self._metric, self._protocol = metric, Protocol(self._settings.network, kwargs.get("G_kwargs") or {})
        try:
            with _kept_random_states(kwargs.get("device")):
                result = self._plain["calc_metric"](metric=metric, **kwargs)
            if kwargs.get("rank", 0) == 0:
                result["protocol"] = self._protocol.to_dict(self._utils.dnnlib.util.open_url)
            return result
        finally:
            self._protocol = None

    def report_metric(self, result_dict: Any, *args: Any, **kwargs: Any) -> None:
        """The host's, but for snapshots that are passed over: they have no result to report. While a run trains, a line for
        readers takes the place of the JSON that the host prints, and that is in metric-*.jsonl."""
        if result_dict.get("passed_over"):
            return
        if HostLoop.find() is None:
            self._plain["report_metric"](result_dict, *args, **kwargs)
            return
        with contextlib.redirect_stdout(io.StringIO()):
            self._plain["report_metric"](result_dict, *args, **kwargs)
        print(_for_readers(result_dict, kwargs.get("snapshot_pkl")), flush=True)

    # ---------------------------------------------------------------- precision_recall

    def compute_pr(self, opts: Any, max_real: Any, num_gen: Any, nhood_size: int, **kwargs: Any) -> Any:
        """The host's, which compares in half precision, as its VGG-16's features fit; those of another detector in single."""
        if self._settings.detector is None:
            return self._plain["compute_pr"](opts, max_real=max_real, num_gen=num_gen, nhood_size=nhood_size, **kwargs)
        asked = {"opts": opts, "detector_url": self._settings.detector, "detector_kwargs": {"return_features": True}}
        real = self.compute_feature_stats_for_dataset(**asked, rel_lo=0, rel_hi=0, capture_all=True, max_items=max_real)
        made = self.compute_feature_stats_for_generator(**asked, rel_lo=0, rel_hi=1, capture_all=True, max_items=num_gen)
        features = [stats.get_all_torch().float().to(opts.device) for stats in (real, made)]
        if not all(bool(part.isfinite().all()) for part in features):
            raise ValueError("the detector gives features that are no finite numbers")
        return _share_inside(features[1], features[0], nhood_size), _share_inside(features[0], features[1], nhood_size)

    def compute_distances(self, row_features: Any, col_features: Any, num_gpus: int, **kwargs: Any) -> Any:
        """The host's; among few vectors in single precision where the CPU has no other way, and rounded as the host's are."""
        plain = self._plain["compute_distances"]
        most = max(len(row_features), -(-len(col_features) // num_gpus))  # each process compares with a part
        if row_features.device.type != "cpu" or most > _DIRECT:
            return plain(row_features, col_features, num_gpus=num_gpus, **kwargs)
        found = plain(row_features.float(), col_features.float(), num_gpus=num_gpus, **kwargs)
        return None if found is None else found.to(row_features.dtype)

    # ---------------------------------------------------------------- metric_utils

    def get_feature_detector(self, url: str, device: Any = _CPU, **kwargs: Any) -> Any:
        """The host's, which asks for features without switching gradients off; which one it was is noted."""
        loaded, url = self._utils._feature_detector_cache, self._at_hand(url)
        if url in self._scripts and (url, device) not in loaded:
            # Hosts of StyleGAN3's shape would unpickle it.
            loaded[url, device] = torch.jit.load(self._scripts[url], map_location=device).eval()
        detector = self._plain["get_feature_detector"](url, device=device, **kwargs)
        for parameter in detector.parameters():
            parameter.requires_grad_(False)
        if self._protocol is not None:
            self._protocol.detector_url = url
        return detector

    def compute_feature_stats_for_dataset(self, opts: Any, detector_url: str, detector_kwargs: Any, **kwargs: Any) -> Any:
        """The host's, of the images that are to be compared with. It keeps them by the text of its arguments, which is one of
        the hashes of images and detector here: it would serve those of other images where a folder was changed in place."""
        reference, url = self._reference(opts), self._settings.detector or self._at_hand(detector_url)
        # Before its hash is asked for, so that one process downloads it and the others wait.
        self.get_feature_detector(url, device=opts.device, num_gpus=opts.num_gpus, rank=opts.rank)
        dnnlib, path = self._utils.dnnlib, reference.get("path")
        there = isinstance(path, str) and Path(path).exists()
        content = read_content(Path(path), Path(dnnlib.make_cache_dir_path("gan-metrics"))) if there else None
        facts = {**reference, "path": path if content is None else content.sha256, "max_items": kwargs.get("max_items")}
        if there:
            reference["path"] = os.path.abspath(path)
        call = _known(detector_kwargs, [detector_sha256(url, dnnlib.util.open_url), detector_kwargs])
        if opts.device.type == "cpu" or (content is not None and content.images <= _FEW):
            # Starting processes that load data would take longer than the loading, and there is no pinned memory on the CPU.
            kwargs = {"data_loader_kwargs": {"num_workers": 0}, **kwargs}
        given, opts.dataset_kwargs = opts.dataset_kwargs, _known(reference, facts)
        try:
            # The loader draws a number; without that, a value depends on the seed and not on what the cache knows.
            with torch.random.fork_rng(devices=[]), _in_folder(dnnlib.make_cache_dir_path()):
                stats = self._plain["compute_feature_stats_for_dataset"](opts, url, call, **kwargs)
        finally:
            opts.dataset_kwargs = given
        if self._protocol is not None:
            self._protocol.compared_with(reference, stats.num_items, content)
        return stats

    def compute_feature_stats_for_generator(self, opts: Any, detector_url: str, *args: Any, **kwargs: Any) -> Any:
        """The host's, with the detector that was asked for."""
        if self._protocol is not None:
            self._protocol.generated = kwargs.get("max_items")
        url = self._settings.detector or self._at_hand(detector_url)
        return self._plain["compute_feature_stats_for_generator"](opts, url, *args, **kwargs)

    def _at_hand(self, url: str) -> str:
        """Address of the file that is taken for a detector's, where it need not be downloaded in another form."""
        found = torchscript_in_place_of(url)
        if found is not None:
            self._scripts[found] = str(downloaded(found)[0])
        return found or url

    def _reference(self, opts: Any) -> Any:
        """Arguments of the data set to compare with."""
        found = reference_of(self._settings, getattr(opts, "against", "full"), opts.dataset_kwargs)
        fault = too_few(self._metric, found, self._utils.dnnlib.util.construct_class_by_name)
        if fault is not None:
            raise ValueError(fault)
        return self._easy(found)


@contextlib.contextmanager
def _in_folder(folder: str) -> Iterator[None]:
    """With it as the current folder, below which projected-gan keeps what it knows of real images."""
    os.makedirs(folder, exist_ok=True)
    before = os.getcwd()
    if "DNNLIB_CACHE_DIR" in os.environ:
        os.environ["DNNLIB_CACHE_DIR"] = os.path.abspath(os.environ["DNNLIB_CACHE_DIR"])  # a relative one is meant from here
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _share_inside(points: torch.Tensor, others: torch.Tensor, neighbours: int) -> float:
    """Share of the points that lie no farther from one of the others than that one's neighbour of this number does."""
    reach = torch.cat([torch.cdist(part, others).kthvalue(neighbours + 1).values for part in others.split(_ROWS)])
    return float(torch.cat([(torch.cdist(part, others) <= reach).any(dim=1) for part in points.split(_ROWS)]).float().mean())


def _known(arguments: Any, facts: Any) -> Any:
    """The same arguments, with a text that is that of ``facts``."""
    return type("Known", (type(arguments),), {"__repr__": lambda self: repr(facts)})(arguments)


def _for_readers(result: Mapping[str, Any], snapshot: Optional[str]) -> str:
    of = "" if snapshot is None else f" of {os.path.basename(snapshot)}"
    if not result["results"]:
        return f"{result['metric']}{of}: no value"
    values = ", ".join(f"{name} {value:.5g}" for name, value in result["results"].items())
    seconds = result.get("total_time")
    return f"{values}{of}" + ("" if seconds is None else f" ({seconds:.0f} s)")


def _kept_random_states(device: Any) -> ContextManager[None]:
    engine = engine_or_none()
    if engine is None or engine.observes():
        return contextlib.nullcontext()
    return kept_random_states(torch.device("cpu" if device is None else device))


def _is_due(every: int) -> bool:
    """Whether metrics are computed at this snapshot of the running loop; the counters are the same in every process."""
    loop = HostLoop.find()
    if every == 1 or loop is None:
        return True
    return loop.is_done or loop.tick // loop.snapshot_ticks % every == 0
