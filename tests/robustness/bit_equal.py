"""Two versions of this package train the same run: whether they leave the same networks, bit for bit.

Command: ``python tests/robustness/bit_equal.py ac7f5e7 HEAD --host ~/stylegan2-ada-pytorch``

Trains 40 iterations of 100 images at 16x16 on the CPU with either version, plain, with Re-GAN, and with Re-GAN of channels, and
compares all parameters of G, D and G_ema: on the embedded host and, where a pristine checkout is given, on that one by
``regan-ext train --host`` and by ``train.py`` with the two lines in it. Prints one JSON line a case; exits with 1 if anything
differs. The same version twice shows whether runs repeat on this machine. Eighteen runs take some six minutes of a core.

Phases of 6 iterations end the runs with a dense one, of 8 with a sparse one. There pruned weights are 0, and versions before
commit de46c19 leave -0 at many: where nothing else differs, "only_signs_of_zeros" counts as many tensors as "different".
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click
import torch
from common import SMALL, describe, finished_run, host_folder, load_networks, run_fresh_python, write_small_digits

ROOT = Path(__file__).resolve().parents[2]
REGAN = ["--regan-ratio=0.3", "--regan-warmup=4"]
METHODS = {
    "plain": [],
    "weights": REGAN,
    "channels": [*REGAN, "--regan-granularity=channel", "--regan-channel-multiple=2", "--regan-channel-min=2"],
}
LENGTH = ["--batch=100", "--kimg=4", "--tick=4", "--snap=50", "--seed=3"]


@dataclass(frozen=True)
class Version:
    """A version of the package.

    Args:
        name: as it was given, for the reader.
        commit: of a revision; None of a folder.
        source: folder with both packages.
        scratch: folder of its own for checkouts and runs.
    """

    name: str
    commit: Optional[str]
    source: Path
    scratch: Path

    @classmethod
    def of(cls, name: str, scratch: Path) -> "Version":
        """The version in a folder, or the one of a revision of this repository, unpacked into ``scratch``."""
        scratch.mkdir()
        if Path(name).is_dir():
            return cls(name, None, Path(name).resolve(), scratch)
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run([*git, "rev-parse", f"{name}^{{commit}}"], check=True, capture_output=True, text=True).stdout
        archive = scratch / "source.zip"
        subprocess.run([*git, "archive", "--format=zip", f"--output={archive}", name], check=True)
        with zipfile.ZipFile(archive) as content:
            content.extractall(scratch / "source")
        return cls(name, commit.strip(), scratch / "source", scratch)

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with this version's packages, and no other's."""
        environment = {"PYTHONPATH": str(self.source), "XDG_STATE_HOME": str(self.scratch / "home")}
        return run_fresh_python(list(arguments), env=environment, cwd=self.scratch)

    def check(self) -> None:
        """Make sure that it is this version which is imported.

        Raises:
            click.ClickException: it is another.
        """
        found = self.python("-c", "import regan_ext, training_hooks; print(regan_ext.__file__, training_hooks.__file__)")
        if not all(path.startswith(f"{self.source}/") for path in found.stdout.split()):
            raise click.ClickException(f"{self.source} was to be imported, and was not: {found.stdout}")

    def left(self, way: str, host: str, data: Path, options: List[str]) -> Tuple[int, Dict[str, torch.nn.Parameter]]:
        """Number of iterations of a run, and the parameters that it leaves, by network and name.

        Args:
            way: "train" or "patch".
            host: "embedded" or a checkout.
            data: the training images.
            options: of the method.
        """
        outdir = Path(tempfile.mkdtemp(dir=self.scratch))
        if way == "train":
            entry = ["-m", "regan_ext", "train", f"--host={host}"]
        else:
            checkout = outdir.with_name(f"{outdir.name}-checkout")
            shutil.copytree(host, checkout, ignore=shutil.ignore_patterns(".git"))
            patched = self.python("-m", "regan_ext", "patch", "apply", str(checkout))
            if patched.returncode:
                raise click.ClickException(patched.stdout)
            entry = [str(checkout / "train.py")]
        result = self.python(*entry, f"--outdir={outdir}", f"--data={data}", *SMALL, *LENGTH, *options)
        run = finished_run(outdir, result)
        networks = load_networks(run.snapshot(4), host_folder(host))
        state = torch.load(run.folder / "regan-state-000004.pt", weights_only=True)
        kinds = ("G", "D", "G_ema")
        return state["batch_idx"], {f"{kind}.{name}": p for kind in kinds for name, p in networks[kind].named_parameters()}


def bits(parameter: torch.nn.Parameter) -> Tuple[torch.dtype, Tuple[int, ...], bytes]:
    """All that there is of a parameter: zeros of either sign and NaN are told apart too."""
    return parameter.dtype, tuple(parameter.shape), parameter.detach().numpy().tobytes()


def compare(one: Dict[str, torch.nn.Parameter], other: Dict[str, torch.nn.Parameter]) -> Dict[str, Any]:
    """How many parameters there are, how many differ in a bit, and in how many of these it is but the sign of zeros."""
    differing = one.keys() ^ other.keys() | {name for name in one.keys() & other.keys() if bits(one[name]) != bits(other[name])}
    signs = [name for name in differing if name in one and name in other and torch.equal(one[name], other[name])]
    facts = {"tensors": len(one), "elements": sum(p.numel() for p in one.values())}
    return {**facts, "different": len(differing), "only_signs_of_zeros": len(signs), "differing": sorted(differing)[:4]}


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--host", metavar="DIR", help="A pristine checkout, which is not written to.  [default: the embedded host alone]")
@click.option("--only", type=click.Choice(list(METHODS)), multiple=True, help="These of the methods.  [default: all]")
@click.option("--interval", type=click.IntRange(min=1), default=6, show_default=True, help="Iterations of a phase of Re-GAN.")
def main(before: str, after: str, host: Optional[str], only: List[str], interval: int) -> None:
    """Compare the versions BEFORE and AFTER: revisions of this repository, or folders with the packages."""
    ways = [("train", "embedded")]
    if host is not None:
        checkout = str(host_folder(host))
        ways += [("train", checkout), ("patch", checkout)]
    failed = False
    with tempfile.TemporaryDirectory(prefix="bit-equal-") as temporary:
        data = Path(temporary) / "digits.zip"
        write_small_digits(data)
        versions = [Version.of(name, Path(temporary) / number) for name, number in ((before, "before"), (after, "after"))]
        for version in versions:
            version.check()
        for way, where in ways:
            for method in only or METHODS:
                options = [*METHODS[method], f"--regan-interval={interval}"] if METHODS[method] else []
                (iterations, one), (same, other) = (v.left(way, where, data, options) for v in versions)
                found = compare(one, other)
                failed = failed or found["different"] > 0 or iterations != same
                named = {"before": versions[0].commit or before, "after": versions[1].commit or after}
                run = {"way": way, "host": Path(where).name, "method": method, "interval": interval, "iterations": iterations}
                click.echo(json.dumps({"check": "bit_equal", **named, **run, **found, **describe("cpu")}))
    sys.exit(failed)


if __name__ == "__main__":
    main()
