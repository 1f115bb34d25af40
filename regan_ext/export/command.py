"""``regan-ext export``: a snapshot in the form that something else needs."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from rich import filesize

from training_hooks.core import own_snapshots
from training_hooks.core.files import refuse_own_input, whole_path
from training_hooks.nvidia.state import state_path

from ..hosts import stylegan2_ada
from ..snapshots.open import Snapshot, open_snapshot
from ..support.errors import UserError
from ..support.pickles import open_pickle
from ..support.text import echo
from .pictures import Picture, write_images, write_video

__all__ = ["Export", "run"]

_SUFFIX = {"dense": "-dense.pkl", "sparse": "-sparse.pkl", "narrow": "-narrow.pkl", "state-dict": "-state-dict.pt",
           "safetensors": ".safetensors", "onnx": ".onnx", "images": "-images.png", "video": "-video.mp4"}  # fmt: skip
_PACKAGES: Dict[str, Tuple[str, ...]] = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript", "onnxruntime")}
_VIDEO_PACKAGES = ("imageio", "imageio_ffmpeg")
# Options that mean something for these formats only: attribute, option, formats.
_ONLY_FOR = (
    ("which", "--which", ("narrow", "state-dict", "safetensors", "onnx", "images", "video")),
    ("ratio", "--ratio", ("sparse", "narrow")),
    ("seeds", "--seeds", ("images", "video")),
    ("trunc", "--trunc", ("images", "video")),
    ("label", "--class", ("images", "video")),
    ("cols", "--cols", ("images",)),
    ("seconds", "--seconds", ("video",)),
    ("fps", "--fps", ("video",)),
)


@dataclass(frozen=True)
class Export:
    """What was asked for. None stands for an option that was not given.

    Args:
        snapshot: the network pickle.
        to: format, a key of ``_SUFFIX``.
    """

    snapshot: Path
    to: str
    which: Optional[str] = None
    out: Optional[str] = None
    ratio: Optional[float] = None
    host: Optional[str] = None
    trust: bool = False
    seeds: Optional[Sequence[int]] = None
    trunc: Optional[float] = None
    cols: Optional[int] = None
    seconds: Optional[float] = None
    fps: Optional[int] = None
    label: Optional[int] = None

    def check(self) -> None:
        """Raises UserError for options that do not go together."""
        for name, option, formats in _ONLY_FOR:
            if getattr(self, name) is not None and self.to not in formats:
                raise UserError(f"{option} is for --to={' and '.join(formats)}, not for --to={self.to}")
        if len(self.picture.seeds) < 2 and self.to == "video":
            raise UserError("--seeds: a video needs two seeds or more")

    @property
    def picture(self) -> Picture:
        """What images and videos show."""
        return Picture(self.seeds or range(32), 1.0 if self.trunc is None else self.trunc, self.label)

    def target(self) -> Path:
        """The file to write. One that exists will be replaced.

        Raises:
            UserError: it would replace the snapshot, has the wrong suffix, or its folder cannot be written.
        """
        if self.out is not None:
            path = Path(self.out)
        else:
            suffix = _SUFFIX[self.to]
            if self.to == "video" and not all(map(importlib.util.find_spec, _VIDEO_PACKAGES)):
                suffix = "-video.gif"
            path = self.snapshot.with_name(self.snapshot.stem + ("-G" if self.which == "G" else "") + suffix)
        wanted = {"images": (".png",), "video": (".mp4", ".gif")}.get(self.to, ())
        if wanted and path.suffix not in wanted:
            raise UserError(f"--out={self.out}: --to={self.to} writes {' or '.join(wanted)}")
        if path.exists() and not path.is_file():
            raise UserError(f"--out={self.out} is {'a folder' if path.is_dir() else 'no regular file'}")
        try:
            refuse_own_input(path, [self.snapshot, state_path(self.snapshot)])
        except ValueError as err:
            raise UserError(f"--out={self.out} is the snapshot itself, or its state file") from err
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as err:
            raise UserError(f"{path.parent} cannot be written to ({err.strerror}); give --out=FILE in another folder") from err
        return path


def run(export: Export) -> None:
    """Write the file and say what it is.

    Raises:
        click.ClickException: something is wrong with the options, the snapshot or the result; nothing was written.
    """
    export.check()
    open_pickle(export.snapshot).close()  # what is none is told before the rest, which costs more
    target = export.target()
    _check_packages(export.to, target)
    snapshot = open_snapshot(export.snapshot, export.host, export.trust)
    flavour = snapshot.flavour or stylegan2_ada.FLAVOUR
    refusal = flavour.export_refusal(export.to, snapshot.network(export.which or "G_ema"))
    if refusal is not None:
        raise UserError(f"--to={export.to}: does not fit {flavour.name}: {refusal}")
    try:
        with whole_path(target, suffix=target.suffix) as temporary:
            lines = _write(export, snapshot, temporary)
    except OSError as err:
        raise UserError(f"{target} cannot be written: {err.strerror or err}") from err
    if export.to in ("sparse", "narrow"):
        with contextlib.suppress(OSError):  # then it is asked for when it is opened
            own_snapshots.remember(target)
    for line in lines:
        echo(line)
    echo(f"Wrote {target} ({filesize.decimal(target.stat().st_size)})")


def _check_packages(to: str, target: Path) -> None:
    needed = _VIDEO_PACKAGES if target.suffix == ".mp4" and to == "video" else _PACKAGES.get(to, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f'--to={to} needs {", ".join(missing)}: pip install "regan-ext[export]"')


def _write(export: Export, snapshot: Snapshot, path: Path) -> List[str]:
    which = export.which or "G_ema"
    if export.to in ("images", "video"):
        if export.to == "images":
            return write_images(snapshot, path, which, export.picture, export.cols)
        return write_video(snapshot, path, which, export.picture, export.seconds, export.fps or 30)
    if export.to == "onnx":
        from .onnx import write_onnx

        return write_onnx(snapshot, path, which)
    if export.to == "narrow":
        from .narrow import write_narrow

        return write_narrow(snapshot, path, export.ratio, export.which)
    from . import files

    if export.to == "sparse":
        return files.write_sparse(snapshot, path, export.ratio)
    if export.to == "dense":
        return files.write_dense(snapshot, path)
    return (files.write_safetensors if export.to == "safetensors" else files.write_state_dict)(snapshot, path, which)
