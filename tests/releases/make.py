"""Makes the folder of a release, with the code of that release; the test of releases goes on from what is in it.

Command, in a checkout of the release: ``PYTHONPATH=. python ~/regan-ext/tests/releases/make.py make``

Writes ``VERSION/`` beside this file: two run folders of the embedded host, stopped before their end, each with the options of
its command, and with the networks' tensors in the place of its snapshot, because a pickle holds the host's source; the preset
that a search wrote; and what the release makes of the names of its presets. Takes a minute and a half.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import click

HERE = Path(__file__).resolve().parent
DATA = "digits.zip"
NAMED = "presets.json"
OPTIONS = "options.json"  # of the command that a run was begun with, but for --outdir
LATENTS = 4  # numbers in a latent and in an intermediate latent; the host has 512 of each

# 63 iterations: warm-up 0-4, sparse 5-12, dense 13-20, ..., sparse 53-60, dense 61-62. The first 60 are trained here.
SHARED = ("--device=cpu", f"--data={DATA}", "--cbase=64", "--cmax=4", "--batch=32", "--kimg=2", "--tick=1", "--snap=1",
          "--workers=1", "--keep-states=1", "--regan-ratio=0.3", "--regan-interval=8", "--regan-warmup=5")  # fmt: skip
RUNS: Dict[str, Tuple[str, ...]] = {
    "methods": ("--regan-moments=restore", "--regan-lr-scale=5", "--DiffAugment=color,translation,cutout", "--apa",
                "--apa-kimg=4", "--apa-target=-1", "--aug=noaug", "--stability"),
    "channels": ("--regan-granularity=channel", "--regan-channel-multiple=1", "--regan-channel-min=1", "--target=0.1"),
}  # fmt: skip
PRESETS = ("paper", "reference", "few-shot", "ffhq")
STEPS = 60 + 15 + 60 + 4  # of optimizers in 60 iterations: of G, of its regularisation, of D, of its regularisation


def write_data(folder: Path) -> None:
    """64 real handwritten digits at 16x16, grey: the same bytes for every release and on every machine."""
    from PIL import Image
    from sklearn.datasets import load_digits

    with zipfile.ZipFile(folder / DATA, "w") as archive:
        for index, pixels in enumerate(load_digits().images[:64]):
            image = Image.fromarray((pixels * 15).astype("uint8").repeat(2, 0).repeat(2, 1))
            with archive.open(f"{index:05d}.bmp", "w") as file:
                image.save(file, format="bmp")


@click.group()
def main() -> None:
    """Make the folder of a release."""


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--steps", type=int, default=0, help="Steps of optimizers after which the run is asked to stop; 0 = none.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def train(steps: int, options: Tuple[str, ...]) -> None:
    """Train the embedded host with OPTIONS, its latents shorter than its options can make them."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    import regan_ext
    from regan_ext.hosts import embedded_train

    setup, taken = embedded_train.setup_training_loop_kwargs, []

    def set_up(**values: Any) -> Tuple[str, Any]:
        description, args = setup(**values)
        args["G_kwargs"].update(z_dim=LATENTS, w_dim=LATENTS)
        return description, args

    def count(*_: Any) -> None:
        taken.append(None)
        if len(taken) == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    embedded_train.setup_training_loop_kwargs = set_up
    register_optimizer_step_post_hook(count)
    regan_ext.attach_to(vars(embedded_train))
    embedded_train.main.main(args=list(options))


@main.command()
def make() -> None:
    """Write the folder of the release that is imported."""
    import regan_ext

    target = HERE / regan_ext.__version__
    train_command, regan = [sys.executable, __file__, "train"], [sys.executable, "-m", "regan_ext"]
    environment = {**os.environ, "PYTHONPATH": str(Path(regan_ext.__file__).resolve().parent.parent)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)

        def call(*words: str) -> str:
            return subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout

        write_data(folder)
        call(*regan, "metrics", "detector", "digits", "detector.pt", "--folds=0")
        metric = ("--metrics=kid1k_full", "--metric-detector=detector.pt")
        for name, options in RUNS.items():
            call(*train_command, f"--steps={STEPS}", f"--outdir={name}", *SHARED, *options, *metric)
            (run,) = (folder / name).iterdir()
            keep(run, target / name)
            (target / name / OPTIONS).write_text(json.dumps([*SHARED, *options], indent=0) + "\n")
        shared = [option for option in SHARED if not option.startswith(("--regan", "--kimg"))]
        search = ("tune", "--study=tuned.db", "--trials=1", "--metric=kid1k_full", "--", "--host=embedded", "--kimg=1")
        call(*regan, *search, *shared, metric[1])
        shutil.copy(folder / "tuned.preset.json", target)
        (target / NAMED).write_text(json.dumps({name: shown(call(*regan, *dry_run(DATA, name))) for name in PRESETS}, indent=1))


def dry_run(data: "str | Path", preset: str) -> List[str]:
    """Arguments of ``regan-ext`` that show the options of a run with the preset of that name."""
    length = ("--kimg=2000", "--batch=20", "--metrics=none")  # instead of the preset's own
    return ["train", "--host=embedded", "-n", "--outdir=runs", f"--data={data}", *length, f"--regan-preset={preset}"]


def shown(output: str) -> Dict[str, Any]:
    """The first hook in the options that a dry run has shown, but for its plan."""
    options = json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]
    return {name: value for name, value in options["loss_kwargs"]["hooks"][0].items() if name != "plan"}


def keep(run: Path, target: Path) -> None:
    """Copy what is data of a run folder, and the tensors of the networks in its last snapshot."""
    import pickle

    from safetensors.torch import save

    from regan_ext.hosts.embedded_train import host_module

    target.mkdir(parents=True)
    for path in run.iterdir():
        if path.suffix in (".json", ".jsonl", ".pt"):
            shutil.copy(path, target)
    host_module("dnnlib")
    snapshot = max(run.glob("network-snapshot-*.pkl"))
    with open(snapshot, "rb") as file:
        networks = pickle.load(file)
    named = [(f"{kind}.{name}", t) for kind in ("G", "D", "G_ema") for name, t in networks[kind].state_dict().items()]
    (target / f"{snapshot.stem}.safetensors").write_bytes(save(dict(named)))


if __name__ == "__main__":
    main()
