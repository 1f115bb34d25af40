"""``regan-ext demo``: a real data set of 100 images, a short Re-GAN training on it, and a picture of what came out."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ClassVar, List, Optional, Tuple

import click
from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from training_hooks.core.schedule import Length, Phase, Schedule
from training_hooks.methods.regan.config import PRESETS, ReconfigurationConfig

from .data.prepare import prepare
from .data.request import Request
from .hosts import embedded
from .runs.chain import last_run
from .runs.folder import Run
from .runs.job import read_job
from .snapshots.grid import make_grid
from .support.errors import UserError
from .support.locks import locked
from .support.process import Supervisor, module_command
from .support.text import clock

__all__ = ["DemoSettings", "run_demo", "size_of"]

_POLL = 0.5  # seconds


@dataclass(frozen=True)
class DemoSettings:
    """How the demo trains: a warm-up and two sparse-dense cycles, five phases of equal length.

    The settings are those of the preset ``explore``, in phases of a fifth of the run.

    Args:
        kimg: length, in thousands of images, at least 3.
    """

    kimg: int = 40

    batch: ClassVar[int] = 16
    resolution: ClassVar[int] = 16

    @property
    def total(self) -> int:
        """Iterations of the run."""
        return -(-self.kimg * 1000 // self.batch)

    @property
    def config(self) -> ReconfigurationConfig:
        """The settings of Re-GAN."""
        phase = self.total // 5
        explore = {name: value for name, value in PRESETS["explore"].settings.items() if not isinstance(value, Length)}
        return ReconfigurationConfig(interval=phase, warmup=phase, **explore)

    @property
    def schedule(self) -> Schedule:
        """The schedule that the run will follow."""
        return self.config.schedule(self.total)

    def arguments(self, outdir: Path, data: Path, device: str) -> List[str]:
        """Arguments of ``regan-ext train``."""
        config = self.config
        return [
            "--host=embedded", f"--outdir={outdir}", f"--data={data}", f"--device={device}", "--metrics=none", "--cfg=cifar",
            "--cond=1", f"--kimg={self.kimg}", f"--batch={self.batch}", "--gamma=0.1", "--tick=1",
            f"--snap={max(1, self.kimg // 5)}", "--aug=noaug", "--cbase=1024", "--cmax=32",
            f"--regan-ratio={config.ratio:g}", f"--regan-interval={config.interval}", f"--regan-warmup={config.warmup}",
            "--regan-preset=explore",
        ]  # fmt: skip

    def run(self, outdir: Path) -> Optional[Run]:
        """The last run in a folder; None if that was made with other settings."""
        run, mine = last_run(outdir), (self.config, self.kimg, self.batch, self.resolution)
        return run if run is not None and mine == (run.config, run.total_kimg, run.batch, run.resolution) else None


def run_demo(outdir: Path, settings: DemoSettings, device: str, console: Console) -> int:
    """Make the data, train or go on, draw the grid, and say what to do next.

    Returns:
        Exit code: 0 done, 130 stopped by a signal.

    Raises:
        click.ClickException: training failed; what it said last is shown.
    """
    with locked(outdir) as handles:
        if handles is None:
            raise UserError(f"--outdir: another demo trains in {outdir}; wait for it, or give another folder")
        return _Demo(outdir, settings, device, console).run(handles)


def size_of(folder: Path) -> int:
    """Bytes of all files in ``folder`` and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class _Demo:
    outdir: Path
    settings: DemoSettings
    device: str
    console: Console

    def say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)

    def run(self, handles: Tuple[int, ...]) -> int:
        begin, settings = time.monotonic(), self.settings
        data = self.outdir / f"digits-100-{settings.resolution}.zip"
        if not data.exists():
            prepare(Request("digits", "-", data, resolution=settings.resolution, count=100))
        self.say(
            f"Data: 100 handwritten digits of {settings.resolution}x{settings.resolution} pixels, 10 of each class ({data})"
        )
        self.say(f"Host: {embedded.LICENCE}")
        run = settings.run(self.outdir)
        if run is not None and run.is_finished:
            anew = f"--kimg={3 * settings.kimg} trains anew and longer, --outdir elsewhere"
            self.say(f"Trained already, {settings.kimg} kimg; {anew}.")
        else:
            with Supervisor(self.say) as supervisor:
                self._train(data, run, supervisor, handles)
            run = settings.run(self.outdir)
            if supervisor.was_signalled and not (run is not None and run.is_finished):
                at = f" at {run.starts[-1][0]} of {settings.kimg} kimg" if run is not None and run.starts else ""
                again = ["regan-ext", "demo", f"--outdir={self.outdir}", f"--kimg={settings.kimg}", f"--device={self.device}"]
                self.say(f"Stopped{at}. The same command goes on:\n  {shlex.join(again)}")
                return 130
        assert run is not None, "a training that ended well has written a run"
        grid = _draw(data, run)
        self.say(f"Done in {time.monotonic() - begin:.0f} seconds; {filesize.decimal(size_of(self.outdir))} in {self.outdir}.")
        self.say("\n".join(_outcome(run, grid)))
        return 0

    def _train(self, data: Path, run: Optional[Run], supervisor: Supervisor, handles: Tuple[int, ...]) -> None:
        """Train in a process of its own, from where a run stopped, showing where it stands."""
        settings, log = self.settings, self.outdir / "demo-train.log"
        before, starts = set(self.outdir.iterdir()), [] if run is None else run.starts
        command = module_command("regan_ext", "train", *settings.arguments(self.outdir, data, self.device))
        if not starts:
            cycles = sum(span.phase == Phase.SPARSE for span in settings.schedule.spans())
            self.say(
                f"Training: {settings.total} iterations of {settings.batch} images, {cycles} sparse-dense cycles, "
                f"{settings.config.ratio:.0%} of the synthesis network's weights pruned in sparse phases"
            )
        else:
            kimg, snapshot = starts[-1]
            command.append(f"--resume={snapshot.parent}")
            self.say(f"Training goes on at {kimg} of {settings.kimg} kimg, from {snapshot.parent}")
        with _Display(settings, self.console, self.say) as display:

            def look() -> None:
                for job in (read_job(path) for path in self.outdir.iterdir() if path not in before and path.is_dir()):
                    if job.is_known:
                        display.show(job.iteration, job.sec_per_iteration)

            wrong = supervisor.run(command, log, handles, look, _POLL)
            if wrong is None and not supervisor.was_signalled:
                display.show(settings.total, 0)
        if wrong is not None and not supervisor.was_signalled:
            raise click.ClickException(f"training failed with {wrong} (all that it said is in {log})")


class _Display(Progress):
    """Where training stands: a line that moves in a terminal; elsewhere a line at every switch and tenth of the run."""

    def __init__(self, settings: DemoSettings, console: Console, say: Callable[[str], None]):
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TextColumn("{task.fields[text]}"))
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._settings, self._say, self._begin = settings, say, time.monotonic()
        self._told: Optional[Tuple[int, int]] = None
        self._task = self.add_task("starting", total=settings.total, text="(getting the host, loading the data)")

    def show(self, done: int, pace: float) -> None:
        """Show that ``done`` iterations are done, at ``pace`` seconds each (NaN: not known)."""
        total, done = self._settings.total, max(done, 0)
        span = self._settings.schedule.span(min(done, total - 1))
        phase = span.phase.title + (f" (cycle {span.cycle})" if span.cycle else "")
        left = "" if math.isnan(pace) else f" · {clock(pace * (total - done))} left"
        text = f"{done} of {total} iterations · {clock(time.monotonic() - self._begin)} elapsed{left}"
        self.update(self._task, completed=done, description=phase, text=text)
        stage = (span.start, 10 * done // total)
        if self.disable and stage != self._told:
            self._told = stage
            self._say(f"{phase}: {text}")


def _draw(data: Path, run: Run) -> Path:
    """Draw the pair of the last switch beside real images; returns the picture."""
    sparse = max(run.folder.glob("network-pair-*-sparse.pkl"), default=None)
    dense = None if sparse is None else sparse.with_name(sparse.name.replace("-sparse", "-dense"))
    if sparse is None or dense is None or not dense.is_file():
        raise click.ClickException(f"{run.folder} holds no pair of a dense and a sparse generator (network-pair-*.pkl)")
    switch, grid = int(sparse.stem.split("-")[2]), run.folder / "demo-grid.png"
    make_grid(data, [(f"dense\n{run.whole_kimg} kimg", dense), (f"sparse\n{switch} kimg", sparse)], grid)
    return grid


def _outcome(run: Run, grid: Path) -> List[str]:
    """What the masks did, where the picture is, and what to do next."""
    last = run.ticks[-1]
    same = 1 - run.config.ratio if run.config is not None else math.nan
    return [
        f"Masks: {last.get('ReGAN/mask_change'):.1%} of the weights that the last pruning took, the one before had left; "
        f"{last.get('ReGAN/explored'):.1%} of all have been in use in a sparse phase, {same:.0%} if the masks never changed.",
        f"Picture: {grid} (real, dense, sparse; each column one digit, the same latents in dense and sparse)",
        "Next: a page about the run, its generator as a picture, and the same with a folder of your images:",
        f"  {shlex.join(['regan-ext', 'report', str(run.folder)])}",
        f"  {shlex.join(['regan-ext', 'export', str(run.last_snapshot), '--to=images', '--host=embedded'])}",
        "  regan-ext data prepare my-images FOLDER images.zip && "
        "regan-ext train --data=images.zip --outdir=runs --metrics=none --regan-preset=explore",
    ]
