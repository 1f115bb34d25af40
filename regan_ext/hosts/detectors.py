"""The feature networks that hosts measure with: where they download them, and by which names they find them again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from .download_cache import dnnlib_cache

__all__ = ["DETECTORS", "STYLEGAN2_ADA", "STYLEGAN3", "HostDetector", "downloaded", "prefix", "torchscript_in_place_of"]

#: Addresses of a family's detectors, by the names of ``HostDetector.name``.
STYLEGAN2_ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{}.pt"
STYLEGAN3 = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files/metrics/{}.pkl"


@dataclass(frozen=True)
class HostDetector:
    """A network that the hosts download: those of StyleGAN2-ADA as TorchScript, those of StyleGAN3 the same network pickled.
    NVIDIA publishes no hash of the files.

    Args:
        name: of the file, without its ending.
        features: how many it gives for an image; None where that is not checked.
    """

    name: str
    features: Optional[int]

    @property
    def url(self) -> str:
        """Where the TorchScript file is; the hosts name the file in their cache after it."""
        return STYLEGAN2_ADA.format(self.name)

    @property
    def filename(self) -> str:
        """The name by which the hosts find the file again."""
        return f"{prefix(self.url)}{self.url.rsplit('/', 1)[1]}"


DETECTORS: Dict[str, HostDetector] = {
    "inception": HostDetector("inception-2015-12-05", 2048),
    "vgg16": HostDetector("vgg16", None),
}


def prefix(url: str) -> str:
    """The part of a file's name in the cache that the hosts look for."""
    return hashlib.new("md5", url.encode(), usedforsecurity=False).hexdigest() + "_"


def downloaded(url: str) -> List[Path]:
    """The files that a host finds in its cache for an address. It takes none of several."""
    return sorted((dnnlib_cache() / "downloads").glob(f"{prefix(url)}*"))


def torchscript_in_place_of(url: str) -> Optional[str]:
    """Address of the TorchScript file of a detector that a host would download and unpickle, where the cache has the one and
    not the other; None elsewhere."""
    for known in DETECTORS.values():
        if url == STYLEGAN3.format(known.name) and len(downloaded(known.url)) == 1 and not downloaded(url):
            return known.url
    return None
