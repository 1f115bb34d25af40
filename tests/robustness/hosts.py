"""Whether a checkout of a host trains as it has to, from end to end.

Command: ``python tests/robustness/hosts.py FOLDER [HOST ...]``, such as ``… hosts.py $REGAN_TEST_HOSTS DeceiveD``

FOLDER holds checkouts under the names in ``HOSTS``; none is written to. Each is copied, and trained at 32x32 on the CPU with
smallest networks: 21 iterations, sparse 2-5, dense 6-9, sparse 10-13, dense 14-17, sparse 18-20; cut in the second sparse one.
Prints one JSON line a host, in which a check is true or says what went wrong; exits with 1 if one of them does.

doctor    names the host, and has nothing to mend in it
patch     put in and taken out again, with each byte as it was
zeros     exactly the share of zeros that was asked for in each selected weight of G and G_ema
resume    the second half trained once more leaves the same networks, optimizers, masks and counters, bit for bit
off       without a method, G, D and G_ema are those that the pristine host leaves, bit for bit
channels  whole channels are exact zeros in G and G_ema, and in D where it is StyleGAN2's
refusals  what HOSTS says does not fit, and a folder with half of the host: one line, exit code 2, nothing written
report    a page with pictures of the samples
methods   those beside Re-GAN that fit, together with it: exact zeros, their statistics, and something that they did
exports   ``export`` to each format that the host declares; the others are refused in one line
metrics   ``metrics run`` with a TorchScript detector gives a number, which is in the line too
ranks     ``--ranks``: zeros and resume in two processes
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import click
import torch
from common import TESTS, Run, describe, finished_run, write_small_digits
from small_hosts import make_projected_gan_small, make_r3gan_small, make_stylegan3_small
from support.detectors import write_detector
from support.host_matrix import FORMATS
from support.networks import assert_equal, comparable_state
from support.parameters import parameters
from support.processes import Program

from regan_ext.hosts.checkout import recognise
from training_hooks.methods.method import entries, find

PRISTINE = str(TESTS / "support" / "pristine.py")
TRAINING = ["--gpus=1", "--batch=96", "--snap=1", "--tick=1", "--metrics=none"]
REGAN = ["--regan-ratio=0.3", "--regan-interval=4", "--regan-warmup=2"]
CHANNELS = ["--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=2"]
TIMEOUT = 1800  # seconds of a run

METHODS = ("diffaugment", "apa", "advaug", "stability")  # beside Re-GAN, of those that need no other files
_APA = ("--apa", "--apa-target=-1", "--apa-kimg=0.1")  # p comes to 1 within the run
_REST = ("--advaug=g,d", "--stability")
EXPORTS = {"narrow": ["--ratio=0.5"], "images": ["--seeds=0-3"], "video": ["--seeds=0-1", "--seconds=0.2", "--fps=10"]}
ENDINGS = {"images": ".png", "video": ".gif"}
METRIC = "fid1k_full"


@dataclass(frozen=True)
class Host:
    """A host as it is tested.

    Args:
        places: where its checkout may lie below FOLDER.
        commit: that the options were made for.
        train_py: SHA-256 of its ``train.py`` at that commit.
        options: of the smallest networks that have every kind of layer.
        refused: options that do not fit.
        has_channels: whether whole channels can be pruned; otherwise that is refused.
        methods: options of the runs that have all methods which fit the host.
        prepare: changes the copy of the checkout, such as for networks that have no option to be small.
    """

    places: Tuple[str, ...]
    commit: str
    train_py: str
    options: Tuple[str, ...]
    refused: Tuple[Tuple[str, ...], ...] = ()
    has_channels: bool = True
    methods: Tuple[Tuple[str, ...], ...] = (("--DiffAugment=color", *_APA, *_REST),)
    prepare: Optional[Callable[[Path], None]] = None


_TINY = ("--cbase=128", "--cmax=16", "--fp32=1")
_STYLEGAN3 = (*_TINY, "--gamma=1", "--map-depth=2")
_OTHER_NETWORKS = tuple(("--kimg=1", f"--cfg=stylegan3-{kind}", *REGAN, *CHANNELS) for kind in "tr")

HOSTS = {
    "stylegan2-ada-pytorch": Host(
        ("stylegan2-ada-pytorch",), "d72cc7d", "269f2073481ab269560ff76d4a866ac98656a494884c3ad0edcf8cc99d9e4c24", _TINY
    ),
    "DiffAugment-stylegan2-pytorch": Host(
        ("DiffAugment-stylegan2-pytorch", "data-efficient-gans/DiffAugment-stylegan2-pytorch"), "0b63395",
        "3515978b51a2fa675c5ab8f68665c34fdfd68c81f367afe21e9229a409139958", _TINY,
        methods=((*_APA, *_REST),),
    ),
    "DeceiveD": Host(
        ("DeceiveD",), "042c5c4", "04356c6d85f48145e67dc3c682d1e87e9610c1606f7359819d35a66f372dec1e", _TINY,
        (("--apa",), ("--DiffAugment=color",), ("--aug=noaug", "--with-dataaug=true", "--DiffAugment=color")),
        methods=(("--aug=noaug", *_APA, *_REST), ("--with-dataaug=true", "--DiffAugment=color")),
    ),
    "dvschultz/stylegan2-ada-pytorch": Host(
        ("dvschultz", "dvschultz/stylegan2-ada-pytorch"), "0e2caab",
        "5aaf426ed8fe3e23067448ebc1b2486991937ab36e074577a70b43102aecb0f9", _TINY,
        (("--kimg=2", "--nkimg=1", *REGAN), ("--advaug=g", "--topk=0.9")),
    ),
    "stylegan3": Host(
        ("stylegan3",), "c233a91", "bc3e0854d1788a6c907015c8d9513d97975a38370e0631ab885e6a83ab23910f",
        ("--cfg=stylegan2", *_STYLEGAN3), _OTHER_NETWORKS, prepare=make_stylegan3_small,
    ),
    "stylegan3-fun": Host(
        ("stylegan3-fun",), "2a13e7d", "c57b9e7618bb79607654a2ac8afe71fffb34dc34edad7b97469b1ce5d572bd8a",
        ("--cfg=stylegan2", *_STYLEGAN3), (*_OTHER_NETWORKS, ("--kimg=2", "--resume-kimg=1", *REGAN)),
        prepare=make_stylegan3_small,
    ),
    "projected-gan": Host(
        ("projected-gan",), "e1c246b", "787f9eefd0321c308a06c3ad90b2e06da23c67d284a20559c336359ad59e1d24",
        ("--cfg=stylegan2", *_TINY),
        (("--apa",), ("--DiffAugment=color",), ("--advaug=d",), ("--cfg=fastgan", "--fp32=0"), (*REGAN, "--regan-target=D")),
        methods=(("--stability",),), prepare=make_projected_gan_small,
    ),
    "R3GAN": Host(
        ("R3GAN",), "19a7ddf", "e1b614189b4fa0d6a29ef465bfcf66087cc77ae6f7581028a484ad06434016d4",
        ("--preset=CIFAR10",),
        (
            ("--apa",), ("--DiffAugment=color",), ("--advaug=d",), ("--preset=FFHQ",), ("--preset=FFHQ-64",),
            ("--preset=ImageNet-32",),
        ),
        has_channels=False, methods=(("--stability",),), prepare=make_r3gan_small,
    ),
}  # fmt: skip


class Check:
    """Trains and looks at one host.

    Args:
        name: of the host.
        checkout: its folder, which is copied.
        scratch: folder for the copy, the data and the runs.
    """

    def __init__(self, name: str, checkout: Path, scratch: Path):
        self.name, self.host, self.scratch = name, HOSTS[name], scratch
        self.folder, self.data = scratch / "host", scratch / "digits.zip"
        shutil.copytree(checkout, self.folder, ignore=shutil.ignore_patterns(".git", "__pycache__"))
        if self.host.prepare is not None:
            self.host.prepare(self.folder)
        write_small_digits(self.data, 32, "RGB")
        self.whole: Optional[Run] = None

    def call(self, *arguments: str, cwd: Optional[Path] = None) -> "subprocess.CompletedProcess[str]":
        """Run Python."""
        program = Program(list(arguments), cwd=cwd)
        output, _ = program.communicate(TIMEOUT)
        return subprocess.CompletedProcess(arguments, program.returncode or 0, output)

    def ours(self, *arguments: str, cwd: Optional[Path] = None) -> "subprocess.CompletedProcess[str]":
        """Run ``regan-ext``."""
        return self.call("-m", "regan_ext", *arguments, cwd=cwd)

    def train(self, *options: str, program: Tuple[str, ...] = ()) -> Run:
        """A run that has to succeed, of this package or of another program."""
        outdir = Path(tempfile.mkdtemp(dir=self.scratch))
        chosen = program or ("-m", "regan_ext", "train", f"--host={self.folder}", "--device=cpu")
        given = (f"--outdir={outdir}", f"--data={self.data}", *TRAINING, *self.host.options, *options)
        return finished_run(outdir, self.call(*chosen, *given))

    @property
    def run(self) -> Run:
        """The run that was not cut."""
        if self.whole is None:
            self.whole = self.train(*REGAN, "--kimg=2")
        return self.whole

    # ---------------------------------------------------------------- the checks

    def doctor(self) -> None:
        findings = json.loads(self.ours("doctor", f"--host={self.folder}", "--json").stdout)["findings"]
        (host,) = [each for each in findings if each["name"] == "host"]
        assert host["status"] == "ok" and host["detail"].startswith(f"{self.name} in "), host
        assert [each for each in findings if each["name"] == "train.py" and each["status"] == "todo"] == []

    def patch(self) -> None:
        before = (self.folder / "train.py").read_bytes()
        for command, code, is_patched in (("check", 1, 0), ("apply", 0, 1), ("check", 0, 1), ("revert", 0, 0), ("check", 1, 0)):
            result = self.ours("patch", command, str(self.folder))
            assert result.returncode == code, result.stdout
            is_before = (self.folder / "train.py").read_bytes() == before
            assert is_before == (is_patched == 0), f"{command} has changed other bytes"

    def zeros(self) -> None:
        assert_zeros(self.run, self.folder)

    def resume(self, run: Optional[Run] = None, *options: str) -> None:
        run = run or self.run
        again = self.train(*REGAN, "--kimg=2", *options, f"--resume={sorted(snapshots(run))[-2]}")
        assert " goes on" in again.output or "resume_state" in again.options["progress_fn"], "it did not go on"
        assert_equal(*(parameters(newest(each), self.folder) for each in (again, run)), "networks")
        assert_equal(*(comparable_state(newest(each)) for each in (again, run)), "state")

    def off(self) -> None:
        theirs = self.train("--kimg=1", "--workers=1", program=(PRISTINE, str(self.folder)))
        ours = self.train("--kimg=1", "--workers=1")
        assert_equal(*(parameters(newest(run), self.folder) for run in (ours, theirs)), "networks")

    def channels(self) -> None:
        has_d = "regan.granularity=channel of D" not in recognise(self.folder).flavour.unfit
        run = self.train(*REGAN, *CHANNELS, f"--regan-target={'both' if has_d else 'G'}", "--kimg=1")
        found = {kind: unread(newest(run), self.folder, kind) for kind in ("G", "G_ema", *(["D"] if has_d else []))}
        assert len(found["G"]) > 3 and found["G"] == found["G_ema"], found
        assert not has_d or len(found["D"]) > 3, found

    def refusals(self) -> None:
        whole = f"--host={self.folder}"
        for options in (*self.host.refused, *([] if self.host.has_channels else [(*REGAN, *CHANNELS)])):
            self.refused(whole, *self.host.options, *options)
        half = self.scratch / "half"
        shutil.copytree(self.folder, half)
        (half / "dnnlib" / "util.py").unlink()
        self.refused(f"--host={half}")
        self.refused(cwd=half)  # another host is not taken in its place

    def refused(self, *options: str, cwd: Optional[Path] = None) -> None:
        """Asks for a run that must not come to be."""
        outdir = self.scratch / "none"
        result = self.ours("train", "--device=cpu", f"--outdir={outdir}", f"--data={self.data}", *TRAINING, *options, cwd=cwd)
        self.assert_refused(result, outdir)

    def assert_refused(self, result: "subprocess.CompletedProcess[str]", path: Path) -> None:
        """One line, exit code 2, and nothing written to ``path``."""
        told = result.stdout.rpartition("\nError: ")[2] if "\nError: " in result.stdout else result.stdout
        is_one_line = told.removeprefix("Error: ").count("\n") == 1 and "Traceback" not in result.stdout
        assert result.returncode == 2 and is_one_line and not path.exists(), (result.args, result.stdout[-1000:])
        click.echo(f"{self.name}: {told.strip()}", err=True)

    def report(self) -> None:
        page = self.scratch / "report.html"
        result = self.ours("report", str(self.run.folder), f"--out={page}")
        assert result.returncode == 0, result.stdout[-1000:]
        assert page.read_text(encoding="utf-8").count("data:image/png;base64,") >= 2, "no pictures of the samples"

    def methods(self) -> None:
        done = set()
        for options in self.host.methods:
            run = self.train(*REGAN, *options, "--kimg=1")
            assert_zeros(run, self.folder)
            on = {entry.name for entry in entries(run.options) if entry.method is not None}
            means = {name: value["mean"] for name, value in run.stats[-1].items() if isinstance(value, dict)}
            known = [each.name for name in on for each in getattr(find(name), "statistics", ()) if each.is_always]
            assert [name for name in known if not math.isfinite(means.get(name, math.nan))] == [], means
            assert [name for name in ("APA/replaced", "Stability/mse") if name in known and not means[name] > 0] == [], means
            done |= on & set(METHODS)
        unfit = recognise(self.folder).flavour.unfit
        assert done == {name for name in METHODS if name not in unfit or unfit[name].when is not None}, done

    def exports(self) -> None:
        unfit = recognise(self.folder).flavour.exports
        for to in FORMATS:
            file = self.scratch / f"export-{to}{ENDINGS.get(to, '.bin')}"
            given = [f"--to={to}", f"--host={self.folder}", f"--out={file}", *EXPORTS.get(to, [])]
            result = self.ours("export", str(newest(self.run)), *given)
            if to in unfit and unfit[to].when is None:
                self.assert_refused(result, file)
            else:
                assert result.returncode == 0 and file.stat().st_size > 0, (to, result.stdout[-1000:])

    def metrics(self) -> Dict[str, float]:
        detector = write_detector(self.scratch / "detector.pt")
        given = [f"--metrics={METRIC}", f"--metric-detector={detector}", f"--host={self.folder}", "--device=cpu"]
        result = self.ours("metrics", "run", str(newest(self.run)), *given)
        assert result.returncode == 0, result.stdout[-1000:]
        (line,) = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        value = line["results"][METRIC]
        assert math.isfinite(value) and value > 0, line
        return {METRIC: round(value, 4)}

    def ranks(self) -> None:
        run = self.train(*REGAN, "--kimg=2", "--gpus=2")  # the hosts compare the processes' weights at each snapshot
        assert_zeros(run, self.folder)
        self.resume(run, "--gpus=2")

    def results(self, names: Tuple[str, ...]) -> Dict[str, Any]:
        """Check → true, or what went wrong; and what a check has measured."""
        found: Dict[str, Any] = {}
        for name in names:
            try:
                found.update({name: True, **(getattr(self, name)() or {})})
            except Exception as err:  # whatever a host's code raises
                found[name] = f"{type(err).__name__}: {err}"[-2000:]
            click.echo(f"{self.name}: {name}: {found[name]}", err=True)
        return found


def snapshots(run: Run) -> List[Path]:
    """The network pickles of a run; the one file of a host that writes each over the last, where there are no copies."""
    return list(run.folder.glob("network-snapshot-*.pkl")) or list(run.folder.glob("network-snapshot.pkl"))


def newest(run: Run) -> Path:
    """The last of them."""
    return max(snapshots(run))


def assert_zeros(run: Run, host: Path) -> None:
    """As many weights as Re-GAN selects have exactly the share of zeros that it was asked for, in G and in its average."""
    assert run.plan["ends_in"] == "sparse" and run.plan["selected_tensors"] > 10, run.plan
    found = parameters(newest(run), host)
    for kind in ("G", "G_ema"):
        weights = {name: p for name, p in found.items() if name.startswith(f"{kind}.") and p.ndim >= 2}
        pruned = [name for name, p in weights.items() if int((p == 0).sum()) == math.floor(run.plan["ratio"] * p.numel()) > 0]
        assert len(pruned) == run.plan["selected_tensors"], (kind, len(pruned), run.plan["selected_tensors"])


def unread(snapshot: Path, host: Path, kind: str) -> Dict[str, int]:
    """Name of a convolution's weight → number of its input channels that are exact zeros, where there are any."""
    weights = {name[len(kind) :]: p for name, p in parameters(snapshot, host).items() if name.startswith(f"{kind}.")}
    counts = {name: int((p == 0).flatten(2).all(2).all(0).sum()) for name, p in weights.items() if p.ndim == 4}
    return {name: count for name, count in counts.items() if count > 0}


def commit(host: Host, checkout: Path) -> Optional[str]:
    """That of the checkout; None where it has none and its ``train.py`` is not the one of the table."""
    if (checkout / ".git").exists():
        git = ["git", "-C", str(checkout), "rev-parse", "--short=7", "HEAD"]
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    is_same = hashlib.sha256((checkout / "train.py").read_bytes()).hexdigest() == host.train_py
    return host.commit if is_same else None


CHECKS = ("doctor", "patch", "zeros", "resume", "off", "channels", "refusals", "report", "methods", "exports", "metrics")


def on_checkouts(
    folder: Path, names: Tuple[str, ...], more: Tuple[str, ...], work: Callable[[str, Path, Path], Tuple[Dict[str, Any], bool]]
) -> None:
    """Print a JSON line of each checkout, in the name of the script that runs; exit with 1 if something is wrong with one.

    Args:
        folder: holds the checkouts.
        names: hosts whose checkouts have to be there; none for all that are.
        more: options of ``train`` beside those of every check, for the line.
        work: of a host's name, its checkout and an empty folder makes what goes into the line, and whether all is sound.
    """
    torch.set_num_threads(1)
    script, sound = Path(sys.argv[0]), True
    for name in names or HOSTS:
        host = HOSTS[name]
        checkout = next((folder / place for place in host.places if (folder / place / "train.py").is_file()), None)
        if checkout is None:
            if names:
                raise click.ClickException(f"{folder} has none of {', '.join(host.places)}")
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{script.stem}-") as scratch:
            found, is_sound = work(name, checkout, Path(scratch))
        sound = sound and is_sound
        facts = {"host": name, "commit": commit(host, checkout), "options": " ".join([*TRAINING, *host.options, *more])}
        command = " ".join(["python", f"tests/robustness/{script.name}", "$REGAN_TEST_HOSTS", *sys.argv[2:]])
        cost = {"seconds": round(time.monotonic() - begin), "command": command}
        click.echo(json.dumps({"check": script.stem, **facts, **found, **cost, **describe("cpu")}))
    sys.exit(not sound)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", metavar="[HOST]...", nargs=-1, type=click.Choice(list(HOSTS)))
@click.option("--only", type=click.Choice([*CHECKS, "ranks"]), multiple=True, help="These checks.  [default: all but ranks]")
@click.option("--ranks", is_flag=True, help="Train in two processes too.")
def main(folder: Path, names: Tuple[str, ...], only: Tuple[str, ...], ranks: bool) -> None:
    """Check the checkouts of HOST in FOLDER, or all that there are."""

    def work(name: str, checkout: Path, scratch: Path) -> Tuple[Dict[str, Any], bool]:
        chosen = only or tuple(each for each in CHECKS if each != "channels" or HOSTS[name].has_channels)
        chosen = (*chosen, "ranks") if ranks and "ranks" not in chosen else chosen
        found = Check(name, checkout, scratch).results(chosen)
        return found, all(found[check] is True for check in chosen)

    on_checkouts(folder, names, (), work)


if __name__ == "__main__":
    main()
