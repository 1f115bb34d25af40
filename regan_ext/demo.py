"""``regan-ext demo``: a real data set of 100 images, a short Re-GAN training on it, and a picture of what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Deque, Dict, List, Optional

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training_hooks.files import STATUS_FILE
from training_hooks.schedule import Phase, Schedule, Span

from .digits import RESOLUTION, write_digits
from .grid import make_grid

__all__ = ["DemoSettings", "megabytes", "run_demo"]


@dataclass(frozen=True)
class DemoSettings:
    """How the demo trains: a warm-up and two sparse-dense cycles, five phases of equal length.

    Args:
        kimg: length, in thousands of images, at least 3.
    """

    kimg: int = 20

    batch: ClassVar[int] = 16
    ratio: ClassVar[float] = 0.3

    @property
    def total(self) -> int:
        """Iterations of the run."""
        return -(-self.kimg * 1000 // self.batch)

    @property
    def schedule(self) -> Schedule:
        """The schedule that the run will follow."""
        return Schedule(self.total // 5, self.total // 5, self.total, "dense")

    @property
    def snap(self) -> int:
        """Ticks (of 1 kimg) between snapshots, so that one falls late into the last sparse phase."""
        return max(1, round(0.15 * self.kimg))

    def arguments(self, outdir: Path, data: Path, device: str) -> List[str]:
        """Arguments of ``regan-ext train``."""
        schedule = self.schedule
        return [
            "--host=embedded", f"--outdir={outdir}", f"--data={data}", f"--device={device}", "--metrics=none", "--cfg=cifar",
            "--cond=1", f"--kimg={self.kimg}", f"--batch={self.batch}", "--tick=1", f"--snap={self.snap}", "--aug=noaug",
            "--workers=1", "--cbase=1024", "--cmax=32", f"--regan-ratio={self.ratio:g}",
            f"--regan-interval={schedule.interval}", f"--regan-warmup={schedule.warmup}", "--regan-finish=dense",
        ]  # fmt: skip


def run_demo(outdir: Path, settings: DemoSettings, device: str, console: Console) -> Path:
    """Make the data, train, and draw the grid.

    Returns:
        Path of the grid picture.

    Raises:
        click.ClickException: training failed; its last lines of output are shown.
    """
    begin = time.monotonic()
    outdir.mkdir(parents=True, exist_ok=True)
    data = outdir / "digits-100.zip"
    write_digits(data)
    console.print(f"Data: 100 handwritten digits, {RESOLUTION}x{RESOLUTION} pixels, 10 of each class ({data})")
    spans = settings.schedule.spans()
    cycles = sum(span.phase == Phase.SPARSE for span in spans)
    console.print(
        f"Training: {settings.total} iterations of {settings.batch} images, {cycles} sparse-dense cycles, "
        f"{settings.ratio:.0%} of the generator's weights pruned in sparse phases"
    )
    run_dir = _train(outdir, data, settings, device, console)
    snapshots = _snapshots_by_phase(run_dir)
    if Phase.DENSE not in snapshots or Phase.SPARSE not in snapshots:
        raise click.ClickException(f"{run_dir} holds no snapshot of both phases; give a larger --kimg")
    grid = run_dir / "demo-grid.png"
    make_grid(data, snapshots[Phase.DENSE], snapshots[Phase.SPARSE], grid)
    console.print(f"\nDone in {time.monotonic() - begin:.0f} seconds; {megabytes(outdir):.0f} MB in {outdir}.", soft_wrap=True)
    console.print(f"Run folder:   {run_dir}", soft_wrap=True)
    console.print(f"Grid picture: {grid}", soft_wrap=True)
    console.print("left: real digits, middle: dense generator, right: sparse generator (same latents); a column is a class")
    return grid


def megabytes(folder: Path) -> float:
    """Size of all files in ``folder`` and below, in decimal megabytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _train(outdir: Path, data: Path, settings: DemoSettings, device: str, console: Console) -> Path:
    """Train in a process of its own, showing where it stands; returns the run folder."""
    before = set(outdir.iterdir())
    log = outdir / "demo-train.log"
    command = [sys.executable, "-m", "regan_ext", "train", *settings.arguments(outdir, data, device)]
    columns = (
        TextColumn("{task.description}", justify="left"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} it"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with open(log, "wb") as output, Progress(*columns, console=console) as progress:
        task = progress.add_task("starting (unpacking the host, loading data)", total=settings.total)
        # Threads that spin while they wait crawl as soon as another program uses the cores; those that never spin are slow.
        environment = {"GOMP_SPINCOUNT": "10000", **os.environ}
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                _show(progress, task, _status(outdir, before), settings.schedule)
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        if process.returncode == 0:
            progress.update(task, completed=settings.total, description="trained")
    if process.returncode != 0:
        raise click.ClickException(f"training failed; the end of {log} says:\n" + "".join(_last_lines(log, 12)))
    return next(path for path in outdir.iterdir() if path not in before and path.is_dir())


def _status(outdir: Path, before: "set[Path]") -> Optional[Dict[str, Any]]:
    for path in outdir.iterdir():
        if path not in before and (path / STATUS_FILE).is_file():
            status: Dict[str, Any] = json.loads((path / STATUS_FILE).read_text(encoding="utf-8"))
            return status
    return None


def _show(progress: Progress, task: Any, status: Optional[Dict[str, Any]], schedule: Schedule) -> None:
    if status is not None:
        span = schedule.span(status["iteration"])
        progress.update(task, completed=status["iteration"], description=_phase_text(span))


def _phase_text(span: Span) -> str:
    names = {Phase.WARMUP: "warm-up", Phase.SPARSE: "[cyan]sparse[/cyan]", Phase.DENSE: "[green]dense[/green]"}
    return names[span.phase] + (f" (cycle {span.cycle})" if span.cycle else "")


def _last_lines(path: Path, count: int) -> "Deque[str]":
    with open(path, encoding="utf-8", errors="replace") as file:
        return deque(file, maxlen=count)


def _snapshots_by_phase(run_dir: Path) -> Dict[Phase, Path]:
    """The last snapshot of each phase, told by the statistics of the tick that wrote it."""
    found: Dict[Phase, Path] = {}
    with open(run_dir / "stats.jsonl", encoding="utf-8") as file:
        for line in file:
            stats = json.loads(line)
            kimg = int(stats["Progress/kimg"]["mean"] + 1e-6)
            snapshot = run_dir / f"network-snapshot-{kimg:06d}.pkl"
            if snapshot.is_file():
                found[Phase(int(stats["ReGAN/phase"]["mean"]))] = snapshot
    return found
