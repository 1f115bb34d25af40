"""Kills training with SIGKILL at random moments and goes on from what is left: ``python tests/robustness/kill_and_resume.py``.

Trains the embedded host on 16x16 images, a snapshot and a state file every kimg, and kills its whole process group: half of the
time at a moment between 0 and 2.5 times what a run takes to its first state, otherwise 0 to 50 ms after one of the first three
snapshots or temporary state files appears. Then every state file must load, the snapshot that it was written for must open, and
``--resume=latest`` must go on from the newest pair of the two. Each trial resumes the one before it. A chain of them ends at
``--chain`` kimg, with a run that is not killed before it has written a state; or at a failure. In a share ``--stops``
of the trials SIGTERM comes first, and SIGKILL while the run writes its last snapshot, as batch systems do. Prints one JSON
line; exits with 1 if anything failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Set

import click
from common import describe, host_folder, load_networks, train_command, write_small_digits

from training_hooks.nvidia import state as states

# 16 iterations a kimg, about 4 seconds; no run reaches its end.
OPTIONS = ["--batch=64", "--kimg=1000", "--regan-ratio=0.3", "--regan-interval=10", "--regan-warmup=10"]
PATIENCE = 120.0  # seconds for a run to come to the moment of its kill


@dataclass(frozen=True)
class Pair:
    """A state file that loads and the snapshot beside it."""

    state_file: Path
    snapshot: Path
    cur_nimg: int
    cur_tick: int


@dataclass
class Findings:
    """What a whole session of trials adds up to."""

    counts: "Counter[str]" = field(default_factory=Counter)
    kills: "Counter[str]" = field(default_factory=Counter)
    failures: List[str] = field(default_factory=list)
    known: Dict[Path, "tuple[int, Optional[Pair]]"] = field(default_factory=dict)


def newest_pair(outdir: Path, findings: Findings) -> Optional[Pair]:
    """Open every pair below ``outdir`` that has not been opened yet; the newest by number of run and kimg, if all are whole."""
    pairs = []
    for file in sorted(outdir.glob("*/regan-state-*.pt")):
        snapshot = file.with_name(file.name.replace("regan-state", "network-snapshot")).with_suffix(".pkl")
        try:
            written = file.stat().st_mtime_ns + snapshot.stat().st_mtime_ns
            if findings.known.get(file, (0, None))[0] != written:
                findings.known[file] = written, opened(file, snapshot)
                findings.counts["state_files_loaded"] += 1
                findings.counts["states_whose_snapshot_was_being_replaced"] += findings.known[file][1] is None
            if findings.known[file][1] is not None:
                pairs.append(findings.known[file][1])
        except Exception as err:  # whatever a damaged file makes of itself is a finding
            findings.failures.append(f"{file.parent.name}/{file.name}: {type(err).__name__}: {err}")
            return None
    return pairs[-1] if pairs else None


def opened(file: Path, snapshot: Path) -> Optional[Pair]:
    """Load both halves of a pair; None where the snapshot is not the one that the state was written for."""
    content = states.load(file)
    if content["snapshot"] != states.fingerprint(snapshot):
        return None
    load_networks(snapshot, host_folder("embedded"))
    return Pair(file, snapshot, content["cur_nimg"], content["cur_tick"])


# ---------------------------------------------------------------- a trial


def versions(outdir: Path) -> Set["tuple[Path, int]"]:
    """Snapshots below the run folders, with the time of their last change."""
    return {(path, path.stat().st_mtime_ns) for path in outdir.glob("*/network-snapshot-*.pkl")}


def wait(process: "subprocess.Popen[bytes]", condition: Callable[[], object]) -> None:
    """Until ``condition`` holds or the process has ended."""
    until = time.monotonic() + PATIENCE
    while process.poll() is None and not condition():
        if time.monotonic() > until:
            raise TimeoutError("the run did not come to the moment of its kill")
        time.sleep(0.001)


def wait_for_new(process: "subprocess.Popen[bytes]", outdir: Path, pattern: str, times: int = 1) -> None:
    """Until files of ``pattern`` have appeared in a run folder so many times."""
    for _ in range(times):
        before = set(outdir.glob(f"*/{pattern}"))
        wait(process, lambda: set(outdir.glob(f"*/{pattern}")) - before)  # noqa: B023 - called at once


def come_to_the_moment(process: "subprocess.Popen[bytes]", kind: str, outdir: Path, longest: float, rng: random.Random) -> None:
    """Return when the process is to be killed."""
    if kind == "clock":
        begin, delay = time.monotonic(), rng.uniform(0, longest)
        wait(process, lambda: time.monotonic() - begin > delay)
        return
    if kind == "snapshot":
        wait_for_new(process, outdir, "network-snapshot-*.pkl", rng.randint(1, 3))
    elif kind == "temporary":
        wait_for_new(process, outdir, ".regan-state-*.tmp", rng.randint(1, 3))
    else:
        wait_for_new(process, outdir, "regan-state-*.pt")
    if kind == "stop":
        time.sleep(rng.uniform(0.5, 3))
        before = versions(outdir)
        process.send_signal(signal.SIGTERM)
        wait(process, lambda: versions(outdir) != before)
    time.sleep(rng.uniform(0, 0.05))


def strike(process: "subprocess.Popen[bytes]", kind: str, outdir: Path, longest: float, rng: random.Random) -> None:
    """Wait for a moment of ``kind`` and kill the process group."""
    try:
        come_to_the_moment(process, kind, outdir, longest, rng)
        if process.poll() is not None and (kind != "stop" or process.returncode != 0):
            raise ChildProcessError(f"the run ended by itself with code {process.returncode}")
    finally:
        with contextlib.suppress(ProcessLookupError):  # it had ended, and left no process of its group
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def place(folder: Optional[Path], pair: Optional[Pair]) -> str:
    """In words, what the kill interrupted, by what lies in the run's folder."""
    if folder is not None and list(folder.glob(".regan-state-*.tmp")):
        return "while a state was written"
    snapshots = sorted(folder.glob("network-snapshot-*.pkl")) if folder is not None else []
    if snapshots and not states.state_path(snapshots[-1]).is_file():
        try:
            load_networks(snapshots[-1], host_folder("embedded"))
        except Exception:
            return "while a snapshot was written"
        return "between snapshot and state"
    return "before the first state of a chain" if pair is None else "elsewhere"


def check_resume(folder: Optional[Path], pair: Pair, findings: Findings) -> None:
    """The run of ``folder`` has to go on from ``pair``, as far as it came to say so."""
    try:
        if folder is None:
            raise FileNotFoundError("killed before it made its folder")
        options = json.loads((folder / "training_options.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        findings.counts["resumes_killed_before_they_began"] += 1
        return
    named = options["progress_fn"].get("resume_state"), options["resume_pkl"]
    if named != (str(pair.state_file), str(pair.snapshot)):
        findings.failures.append(f"{folder.name}: went on from {named[0]}, not from {pair.state_file}")
    findings.counts["resumes_from_the_newest_pair"] += 1
    stats = folder / "stats.jsonl"
    lines = stats.read_text(encoding="utf-8").splitlines(keepends=True) if stats.is_file() else []
    if not lines or not lines[0].endswith("\n"):
        return
    first = json.loads(lines[0])
    tick, images = first["Progress/tick"]["mean"], first["Progress/kimg"]["mean"] * 1000
    if tick != pair.cur_tick or not pair.cur_nimg + 1000 <= images + 1e-6 < pair.cur_nimg + 1064:
        findings.failures.append(f"{folder.name}: first tick {tick} at {images} images after {pair.cur_tick}, {pair.cur_nimg}")
    findings.counts["resumes_that_trained_a_tick"] += 1


def trial(chain: Path, kind: str, longest: float, rng: random.Random, findings: Findings) -> Optional[Pair]:
    """Train, kill, look at what is left; returns the newest pair."""
    outdir = chain / "runs"
    outdir.mkdir(parents=True, exist_ok=True)
    pair = newest_pair(outdir, findings)
    before, failed = set(outdir.iterdir()), len(findings.failures)
    options = [*OPTIONS, "--resume=latest"] if pair is not None else OPTIONS
    findings.counts["resumes" if pair is not None else "fresh_starts"] += 1
    # What the host leaves in the folder for temporary files goes with the chain.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(chain)}
    command = [sys.executable, *train_command("embedded", outdir, chain.parent / "digits.zip", *options)]
    with open(chain / "output.txt", "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            strike(process, kind, outdir, longest, rng)
        except (TimeoutError, ChildProcessError) as err:
            end = (chain / "output.txt").read_text(encoding="utf-8", errors="replace")[-600:]
            findings.failures.append(f"{err}: {end}")
    (folder,) = (set(outdir.iterdir()) - before) or (None,)
    if pair is not None:
        check_resume(folder, pair, findings)
    after = newest_pair(outdir, findings)
    if kind != "closing":
        findings.kills[place(folder, after) if len(findings.failures) == failed else "where it failed"] += 1
    return after


def session(scratch: Path, trials: int, seconds: float, rng: random.Random, stops: float, chain_kimg: int) -> Findings:
    """Chains of trials, until there are enough or the time is over."""
    findings, begin, number = Findings(), time.monotonic(), 0
    trial(scratch / "pace", "closing", 0, rng, findings)
    longest = 2.5 * (time.monotonic() - begin)
    findings = Findings(failures=findings.failures)

    def is_enough() -> bool:
        return findings.counts["trials"] >= trials or time.monotonic() - begin > seconds

    while not is_enough():
        number += 1
        chain, pair, failed = scratch / f"chain{number}", None, len(findings.failures)
        while not is_enough() and len(findings.failures) == failed and (pair is None or pair.cur_nimg < 1000 * chain_kimg):
            near = rng.choice(["snapshot", "temporary"])
            kind = "stop" if rng.random() < stops else ("clock", near)[findings.counts["trials"] % 2]
            pair = trial(chain, kind, longest, rng, findings)
            findings.counts["trials"] += 1
            click.echo(f"{findings.counts['trials']}: {kind}, {pair}, {dict(findings.kills)}", err=True)
        if len(findings.failures) == failed:
            trial(chain, "closing", longest, rng, findings)
        findings.counts["temporary_state_files_left"] += len(list(chain.glob("runs/*/.regan-state-*.tmp")))
        if len(findings.failures) == failed:
            shutil.rmtree(chain)
    findings.counts.update(chains=number, seconds=round(time.monotonic() - begin))
    return findings


@click.command()
@click.option("--trials", default=50, show_default=True)
@click.option("--seconds", default=1500.0, show_default=True, help="Start no trial after this time.")
@click.option("--seed", default=0, show_default=True)
@click.option("--stops", default=0.0, show_default=True, help="Share of trials with SIGTERM before SIGKILL.")
@click.option("--chain", default=8, show_default=True, help="Kimg at which a chain of resumed runs ends.")
def main(trials: int, seconds: float, seed: int, stops: float, chain: int) -> None:
    """Print what was left after each kill as one JSON line."""
    scratch = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    write_small_digits(scratch / "digits.zip")
    findings = session(scratch, trials, seconds, random.Random(seed), stops, chain)
    result = {
        "check": "kill_and_resume",
        **findings.counts,
        "kills": dict(findings.kills),
        "failures": findings.failures,
        "seed": seed,
        "stops": stops,
        "command": " ".join(["python", *sys.argv]),
        **describe("cpu"),
    }
    click.echo(json.dumps(result))
    if findings.failures:
        click.echo(f"What is left of the run that failed is in {scratch}.", err=True)
        sys.exit(1)
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
