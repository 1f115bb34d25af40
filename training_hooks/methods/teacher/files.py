"""The two files of a teacher: its networks, and the images that it trains on."""

from __future__ import annotations

import copy
import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Tuple

import torch

from ...core.random_state import kept_random_states
from ...nvidia.host_loop import HostLoop
from ...nvidia.state import fingerprint
from .config import TeacherConfig

__all__ = ["identified", "images_of", "networks_of"]


def identified(config: TeacherConfig) -> TeacherConfig:
    """The settings with checksums of the files, and with the mode that "auto" is.

    Raises:
        ValueError: a file cannot be read, or is another than it was.
    """
    checksum = _checked(config, "network", "checksum", lambda path: fingerprint(path)["crc32"])
    of_data = _checked(config, "data", "data_checksum", _of_zip) if config.data else 0
    return dataclasses.replace(config, mode=config.way, checksum=checksum, data_checksum=of_data)


def _checked(config: TeacherConfig, name: str, by: str, compute: Callable[[str], int]) -> int:
    path = getattr(config, name)
    try:
        found = max(1, compute(path))
    except zipfile.BadZipFile as err:
        raise ValueError(f"{name} {path} is no zip; regan-ext data prepare makes one of a folder") from err
    except OSError as err:
        raise ValueError(f"{name} {path} cannot be read: {err.strerror or err}") from err
    if getattr(config, by) not in (0, found):
        raise ValueError(f"{name} {path} has checksum {found}, not {getattr(config, by)}: it is another file")
    return found


def _of_zip(path: str) -> int:
    """By the checksums that a zip has of all that is in it."""
    with zipfile.ZipFile(path) as archive:
        members = sorted((each.filename, each.file_size, each.CRC) for each in archive.infolist())
    return zlib.crc32(repr(members).encode())


def networks_of(config: TeacherConfig, networks: Mapping[str, Any]) -> Dict[str, Any]:
    """ "D" and, in the mode own, "G" of a teacher.

    Where a host's loop is running, they are those of a snapshot, else copies of ``networks`` with the weights of a state of a
    ``Loop``.

    Raises:
        ValueError: the file cannot be used, or has no such network.
    """
    wanted = ("D", "G") if config.mode == "own" else ("D",)
    loop, path = HostLoop.find(), Path(config.network)
    if loop is not None:
        with kept_random_states(loop.device):  # a network of TensorFlow's is drawn at random first
            return {name: loop.networks_in(path)[name] for name in wanted}
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)["networks"]
        made = {name: copy.deepcopy(networks[name]) for name in wanted}
        for name, network in made.items():
            network.load_state_dict(saved[name])
    except Exception as err:  # torch, pickle and zipfile each have their own ways of failing
        what = str(err).splitlines()[0] if str(err) else ""
        raise ValueError(
            f"network {path} is no state of a Loop with {' and '.join(wanted)} as here ({type(err).__name__}: {what})"
        ) from err
    return made


def images_of(config: TeacherConfig) -> Callable[[int, torch.Generator], Tuple[torch.Tensor, torch.Tensor]]:
    """Draws images [number, channels, height, width] in [-1, 1] and their labels, of the zip, as the host reads it.

    Raises:
        ValueError: no host's loop is running.
    """
    loop = HostLoop.find()
    if loop is None:
        raise ValueError("data is read by a host; a loop of one's own gives Teacher(..., reals=...) what draws images")
    dataset, device = loop.data_set(config.data), loop.device

    def draw(number: int, generator: torch.Generator) -> Tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.randint(len(dataset), (number,), generator=generator).tolist()
        images, labels = zip(*(dataset[index] for index in chosen))
        stacked = [torch.stack([torch.as_tensor(each) for each in of]).to(device) for of in (images, labels)]
        return stacked[0].float() / 127.5 - 1, stacked[1]

    return draw
