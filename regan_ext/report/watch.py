"""``regan-ext watch``: where a run stands, read from the files in its folder while it trains."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

from rich.console import Console, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training_hooks.core.schedule import Phase, Span
from training_hooks.core.status import STATUS_FILE
from training_hooks.methods.method import methods

from ..runs.folder import STATS_FILE, Run, read_run
from ..runs.metric import MetricPoint
from ..support.text import duration, three_digits

__all__ = ["Sight", "frame", "sight", "watch"]

_RECENT = 10  # ticks whose pace counts for what is still to come
_PATIENCE = 60.0  # seconds of silence that are never stale


@dataclass(frozen=True)
class Sight:
    """Where a run stands. NaN or None: not known, or there is none.

    Args:
        iteration: iterations done.
        kimg: the same in thousands of images.
        phase: the phase that this iteration is in; None in a plain run.
        sec_per_iteration: recent mean, snapshots and metrics included.
        age: seconds since the job wrote something.
        is_stale: it should have written something since.
    """

    run: Run
    iteration: int
    kimg: float
    phase: Optional[Span]
    sec_per_iteration: float
    age: float
    is_stale: bool

    @property
    def is_finished(self) -> bool:
        return self.run.is_finished

    @property
    def seconds_left(self) -> float:
        """To the end of the run."""
        total = self.run.iterations
        return math.nan if total is None else max(0, total - self.iteration) * self.sec_per_iteration

    @property
    def next_switch(self) -> Optional[int]:
        """Iterations to the next phase; None where no other follows."""
        total, stop = self.run.iterations, None if self.phase is None else self.phase.stop
        if stop is None or (total is not None and stop >= total):
            return None
        return stop - self.iteration


def watch(folder: str, once: bool, console: Console, every: float = 1.0) -> None:
    """Show where the run stands until it is finished, its job has ended, or Ctrl-C is pressed; with ``once``, just now.

    Raises:
        UserError: the folder is no run.
    """
    now = sight(read_run(folder), time.time())
    if once or now.run.is_over:
        console.print(frame(now))
    else:
        now = _follow(folder, now, console, every)
    if now.run.has_stopped:
        console.print(Text(_ending(now)), soft_wrap=True)


def _follow(folder: str, now: Sight, console: Console, every: float) -> Sight:
    """Show the run until nothing more will come of it, or Ctrl-C is pressed; where it stood last."""
    stopped_watching = False
    with Live(frame(now), console=console, auto_refresh=False) as live:
        try:
            while not now.run.is_over:
                time.sleep(every)
                now = sight(read_run(folder), time.time())
                live.update(frame(now), refresh=True)
        except KeyboardInterrupt:
            stopped_watching = True
    if not console.is_terminal:
        console.line()  # elsewhere rich ends the display with the frame's last character
    if stopped_watching:
        console.print("Stopped watching; the run goes on.")
    return now


def sight(run: Run, now: float) -> Sight:
    """Where ``run`` stands at the time ``now``, in seconds since the epoch."""
    written = [time for time in map(_modified, (run.folder / STATS_FILE, run.folder / STATUS_FILE)) if time is not None]
    age = max(0.0, now - max(written)) if written else math.nan
    pace, iteration = _pace(run), run.iteration
    # The host alone writes once per tick; with a status file there is news every half second, but for snapshots and metrics.
    tick = math.nan if not run.ticks else run.ticks[-1].get("Timing/sec_per_tick")
    expected = 20 * pace if run.job.is_known else 3 * tick
    patience = max(_PATIENCE, expected) if math.isfinite(expected) else _PATIENCE
    last = (run.iterations or 1) - 1
    phase = run.schedule.span(min(iteration, last)) if run.schedule is not None else None
    is_stale = age > patience and not run.is_over
    return Sight(run, iteration, max(run.kimg, run.in_kimg(iteration)), phase, pace, age, is_stale)


def _modified(path: Path) -> Optional[float]:
    try:
        return path.stat().st_mtime if path.is_file() else None
    except OSError:  # gone meanwhile
        return None


def frame(now: Sight) -> RenderableType:
    """What is shown of it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(now):
        table.add_row(name, value)
    total = now.run.total_kimg
    bar = ProgressBar(total=total if total > 0 else 1, completed=now.kimg if total > 0 else 0)
    whole = Table.grid(expand=True)
    whole.add_row(bar)
    whole.add_row(table)
    return Panel(whole)


def _rows(now: Sight) -> List[Tuple[str, "str | Text"]]:
    last = now.run.ticks[-1] if now.run.ticks else None
    rows: List[Tuple[str, "str | Text"]] = [("run", Text(now.run.name)), ("phase", _phase(now))]
    if now.phase is not None and not now.run.is_over:
        rows.append(("next switch", _switch(now)))
    rows.append(("trained", _trained(now)))
    if not now.run.is_over:
        rows.append(("time left", _about(now.seconds_left)))
    if last is None:
        return [*rows, ("statistics", "no tick was finished yet"), ("status", _age(now))]
    for each in (each for method in methods() for each in method.statistics if each.is_watched):
        if math.isfinite(last.get(each.name)):
            value = f"{last.get(each.name) * each.factor:.1f} {each.unit}".replace(" %", "%")
            rows.append((each.label.lower(), f"{value} {each.axis}, measured at {last.kimg:.1f} kimg"))
    rows.append(("pace", f"{three_digits(last.get('Timing/sec_per_kimg'))} sec/kimg in the last tick"))
    rows.append(("losses", f"G {three_digits(last.get('Loss/G/loss'))}, D {three_digits(last.get('Loss/D/loss'))}"))
    metric = _last_metric(now.run)
    if metric is not None:
        rows.append(("metric", Text(f"{metric.name} {metric.value:.4g} at {metric.kimg:g} kimg")))
    return [*rows, ("status", _age(now))]


def _phase(now: Sight) -> "str | Text":
    if now.is_finished:
        return Text("finished", style="green")
    if now.run.has_stopped:
        return Text("the job has ended", style="bold yellow")
    if now.phase is None:
        return "unknown settings" if now.run.has_method else "none: a plain run of the host"
    cycle = f", cycle {now.phase.cycle}" if now.phase.cycle else ""
    return Text(now.phase.phase.title + cycle, style="cyan" if now.phase.phase == Phase.SPARSE else "bold")


def _switch(now: Sight) -> str:
    if now.next_switch is None or now.phase is None or now.run.schedule is None or now.phase.stop is None:
        return "none before the end"
    following = now.run.schedule.span(now.phase.stop).phase.title
    return f"{following} in {now.next_switch} iterations, {_about(now.next_switch * now.sec_per_iteration)}"


def _trained(now: Sight) -> str:
    total = f" of {now.run.total_kimg:g}" if math.isfinite(now.run.total_kimg) else ""
    iterations = f", iteration {now.iteration}" + (f" of {now.run.iterations}" if now.run.iterations else "")
    return f"{now.kimg:.1f}{total} kimg" + (iterations if now.run.batch else "")


def _age(now: Sight) -> "str | Text":
    if not math.isfinite(now.age):
        return "the job has written nothing yet"
    if now.is_stale:
        return Text(f"stale: the job wrote nothing for {now.age:.0f} s", style="bold red")
    return f"written {now.age:.0f} s ago"


def _ending(now: Sight) -> str:
    """How a job ended before its time, and from where it can go on. One line without a frame, to be copied."""
    last, at = next((kimg for kimg, _ in reversed(now.run.starts)), None), f"{now.kimg:.1f} kimg"
    goes_on = f"; `--resume={shlex.quote(str(now.run.folder))}` goes on"
    older = "" if last is None else f"{goes_on} from {last} kimg"
    if not now.run.is_saved:
        return f"ended at {at} without a snapshot of it{older}"
    return f"stopped at {at}" + (goes_on if last == now.run.whole_kimg else f"; its snapshot has no state file{older}")


def _about(seconds: float) -> str:
    return f"about {duration(seconds)}" if math.isfinite(seconds) else "time not known yet"


def _last_metric(run: Run) -> Optional[MetricPoint]:
    """The last value of FID, where there is one, else of any metric."""
    points = [point for point in run.metrics if math.isfinite(point.value)]
    return max(points, key=lambda p: (p.name.startswith("fid"), p.kimg), default=None)


def _pace(run: Run) -> float:
    """Seconds per iteration: over the last ticks with what lies between them, else as the status says."""
    recent = run.ticks[-_RECENT:]
    if len(recent) >= 2 and run.batch:
        seconds = recent[-1].get("Timing/total_sec") - recent[0].get("Timing/total_sec")
        if seconds > 0:
            return seconds / ((recent[-1].kimg - recent[0].kimg) * 1000 / run.batch)
    return run.job.sec_per_iteration
