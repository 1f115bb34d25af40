"""What a metric's value was measured on: the part of a result line without which values cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

from ..data.dataset_json import filter_of
from ..data.hashes import hashes
from .content import Content

__all__ = ["Protocol", "detector_name"]

_hashes: Dict[str, str] = {}  # of detectors, by path; a run has one or two, which do not change while it is running


def detector_name(url: str) -> str:
    """What to call the detector at an address or path: its file's name without the ending."""
    return Path(url.replace("\\", "/").split("/")[-1]).stem


def detector_sha256(url: str, open_url: Callable[..., Any]) -> str:
    """SHA-256 of a detector that has been opened before, so that it lies in the host's cache or is a file.

    Raises:
        OSError: it cannot be read.
    """
    if url not in _hashes:
        _hashes[url] = hashes(Path(open_url(url, return_filename=True)))["sha256"]
    return _hashes[url]


class Protocol:
    """Collects the facts about one metric while it is computed.

    Args:
        network: which of a snapshot's networks is measured.
        G_kwargs: what it is called with beside latents and labels.
    """

    def __init__(self, network: str, G_kwargs: Mapping[str, Any]):
        self._network = network
        self._truncation = float(G_kwargs.get("truncation_psi", 1))
        self._reference: Dict[str, Any] = {}
        self.generated: Optional[int] = None
        self.detector_url: Optional[str] = None

    def compared_with(self, dataset_kwargs: Mapping[str, Any], images: int, content: Optional[Content]) -> None:
        """Note the real images.

        Args:
            dataset_kwargs: the host's arguments of the data set.
            images: how many of them were compared with.
            content: what its files hold; None where it is no folder or zip.
        """
        path = dataset_kwargs.get("path")
        self._reference = {
            "reference": None if path is None else Path(path).name,
            "reference_images": images,
            "reference_sha256": None if content is None else content.sha256,
            "filter": None if path is None else filter_of(Path(path)),
        }
        most = dataset_kwargs.get("max_size")
        if most is not None and (content is None or most < content.images):
            self._reference["reference_subset"] = {"max_size": most, "random_seed": dataset_kwargs.get("random_seed", 0)}
        if dataset_kwargs.get("xflip"):
            self._reference["mirrored"] = True

    def to_dict(self, open_url: Callable[..., Any]) -> Dict[str, Any]:
        """The facts as JSON can hold them.

        Keys: generated (number of images; None for path lengths); reference (file name), reference_images, reference_sha256
        (of its images), filter (that they were scaled with, where the data set says so), all four absent where nothing is
        compared with; reference_subset (how the host chose a part of them) and mirrored (true), absent where they do not apply;
        detector, detector_sha256; truncation (psi); network.
        """
        detector: Dict[str, Any] = {}
        if self.detector_url is not None:
            name, sha256 = detector_name(self.detector_url), detector_sha256(self.detector_url, open_url)
            detector = {"detector": name, "detector_sha256": sha256}
        return {
            "generated": self.generated,
            **self._reference,
            **detector,
            "truncation": self._truncation,
            "network": self._network,
        }
