"""The commands of ``regan-ext metrics``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Optional

import click

from ..support.numbers import FiniteFloat, Int
from ..support.options import added
from ..support.paths import UserPath
from ..support.text import echo

__all__ = ["BEST", "HOST", "TRUST", "metrics"]

_FILE, _TEXT = UserPath(path_type=Path), UserPath()
_SEED = Int(0, 2**63 - 1)  # what PyTorch takes
BEST = click.option("--best", is_flag=False, flag_value="", metavar="[=METRIC]",
                    help="Of a run folder, the best snapshot by this metric.  [default: the newest]")  # fmt: skip
HOST = click.option("--host", type=_TEXT, metavar="DIR",
                    help="Checkout whose classes the snapshot names.  [default: as train finds it]")  # fmt: skip
TRUST = click.option("--trust", is_flag=True, help="Open the snapshot without asking. A pickle runs the code in it.")


@click.group()
def metrics() -> None:
    """Measure a snapshot, look at its nearest training images, get or make the networks that metrics need."""


@metrics.command("detector", short_help="Make a feature network that needs no download.")
@click.argument("name", type=click.Choice(["digits", "efficientnet-lite0"]))
@click.argument("out", type=_FILE, metavar="OUT.pt")
@click.option("--seed", type=_SEED, metavar="INT", help="digits: random seed.  [default: 0]")
@click.option("--folds", type=Int(0, 20), help="digits: for the accuracy; 0 leaves it out.  [default: 5]")
def detector(name: str, out: Path, seed: Optional[int], folds: Optional[int]) -> None:
    """Make the feature network NAME and write it to OUT.pt, for --metric-detector. The same bytes every time.

    digits: a classifier of scikit-learn's 1797 handwritten digits; half a minute on one core. Printed is its accuracy on digits
    that it had not seen, over five networks trained without a fifth of them each; the one that is written has seen all.

    efficientnet-lite0: EfficientNet-Lite0 with its ImageNet weights, out of the packages of the extra "features".
    """
    from ..support.errors import UserError, writing

    if name == "digits":
        from .digit_detector import Training, train_detector

        asked = Training(seed=seed or 0, folds=5 if folds is None else folds)
        with writing(out):
            facts = train_detector(out, asked)
        echo(f"{out}: trained on {facts['images']} digits, {facts['training_accuracy']:.2%} of them right")
        if asked.folds:
            echo(f"{facts['held_out_accuracy']:.2%} right of digits that were held out ({asked.folds} folds)")
        return
    from .efficientnet import write_detector

    for option, value in (("--seed", seed), ("--folds", folds)):
        if value is not None:
            raise UserError(f"{option} is for digits; {name} is not trained here")
    with writing(out):
        facts = write_detector(out)
    echo(f"{out}: {facts['features']} features of images scaled to {facts['side']}x{facts['side']}; not for Projected GAN")
    echo(f"SHA-256 {facts['sha256']}, which every result line repeats")


# The options of the commands that open a snapshot.
_MEASURING = added(
    click.argument("snapshot", type=_FILE, metavar="SNAPSHOT"),
    click.option(
        "--data", type=_TEXT, metavar="PATH", help="Training images: zip or folder.  [default: where the snapshot says]"
    ),
    click.option("--metricdata", type=_TEXT, metavar="PATH", help="Zip or folder of images that were not trained on."),
    click.option("--metric-detector", "detector", type=_TEXT, metavar="FILE", help="TorchScript file of the feature network."),
    click.option("--which", type=click.Choice(["G_ema", "G"]), default="G_ema", show_default=True, help="Network."),
    click.option("--trunc", type=FiniteFloat(-1000, 1000), default=1.0, show_default=True, help="Truncation psi."),
    click.option("--seed", type=_SEED, default=0, show_default=True, help="Random seed."),
    HOST,
    BEST,
    TRUST,
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
)


@metrics.command("run", short_help="Measure a snapshot, or all of a run.")
@_MEASURING
@click.option("--metrics", "names", default="fid5k_full", show_default=True, metavar="LIST", help="Names, with commas.")
@click.option(
    "--all", "whole_run", is_flag=True, help="All snapshots of the run folder; what is known already is not measured."
)
@click.option("--save", is_flag=True, help="Also add the results to the metric-*.jsonl beside the snapshot.")
def run_metrics(snapshot: Path, best: Optional[str], names: str, whole_run: bool, save: bool, **options: Any) -> None:
    """Measure SNAPSHOT, a network-snapshot-NNNNNN.pkl or a run folder, and print one JSON line for each metric.

    Of a folder it is the newest snapshot, the --best or --all. The line says what was measured against what. Every metric
    begins from the seed.

    Exit code: 0 measured, 1 a metric failed, 2 something wrong with the options, the snapshot or the data.
    """
    from ..runs.find import chosen_snapshot
    from ..runs.job import by_kimg
    from ..support.errors import UserError
    from .prepare import Wanted
    from .run import Measurement, run, run_all

    listed = tuple(name.strip() for name in names.split(",") if name.strip() not in ("", "none"))
    if whole_run and (best is not None or not snapshot.is_dir()):
        raise UserError("--all is for a run folder, without --best")
    measurement = Measurement(Wanted(chosen_snapshot(snapshot, best), **options), listed, save)
    if whole_run:
        run_all(measurement, list(by_kimg(snapshot).values()))
    else:
        run(measurement)


@metrics.command("nearest", short_help="Show generated images beside their nearest training images.")
@_MEASURING
@click.option("--out", type=_FILE, required=True, metavar="FILE.png", help="The sheet.")
@click.option("--count", type=Int(1, 4096), default=32, show_default=True, help="Generated images.")
@click.option("--neighbours", type=Int(1, 8), default=3, show_default=True, help="Training images beside each.")
def nearest(snapshot: Path, best: Optional[str], out: Path, count: int, neighbours: int, **options: Any) -> None:
    """Draw images of SNAPSHOT beside the training images nearest to them: by pixels, or by the features of --metric-detector.

    SNAPSHOT is a network-snapshot-NNNNNN.pkl or a run folder, of which it is the newest. Printed is the share of generated
    images that are closer to a training image than that one's nearest neighbour among the training images is, and the same
    share of the images of --metricdata.

    Exit code: 0 written, 2 something wrong with the options, the snapshot or the data.
    """
    from ..runs.find import chosen_snapshot
    from .nearest import run
    from .prepare import Wanted

    for line in run(Wanted(chosen_snapshot(snapshot, best), **options), out, count, neighbours):
        echo(line)


@metrics.command("floors", short_help="What distances real images have among themselves.")
@click.argument("data", type=_FILE, metavar="DATA")
@click.option(
    "--metricdata", type=_FILE, required=True, metavar="PATH", help="Zip or folder of images that were not trained on."
)
@click.option("--metric-detector", "detector", type=_FILE, required=True, metavar="FILE", help="TorchScript file.")
@click.option("--most", type=Int(16, 4000), default=2000, show_default=True, help="Take so many images of either at most.")
@click.option("--draws", type=Int(2, 1000), default=50, show_default=True, help="How often chance is asked.")
@click.option("--seed", type=_SEED, default=0, show_default=True, metavar="INT", help="Random seed.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def floors(device: str, as_json: bool, **options: Any) -> None:
    """Print how far DATA, a zip or folder of training images, and the images of --metricdata lie from each other, and how far
    their halves, blurred images and noise do: between which numbers one of a generator can lie.

    Kernel distance first. A Fréchet distance has a bias that depends on the number of images: the mean of what chance makes.

    Exit code: 0 printed, 2 something wrong with the options or the images.
    """
    import json

    from ..data.show import images_bar
    from ..hosts.device import of_option
    from .floors import Wanted, measure, show

    kind = of_option(device)
    with images_bar("images") as tick:
        found = measure(Wanted(device=kind, **options), tick)
    if not as_json:
        show(found)
    for floor in found if as_json else ():
        echo(json.dumps(floor.to_dict()))


@metrics.command("fetch", short_help="Put NVIDIA's detectors where hosts look for them.")
@click.argument("name", type=click.Choice(["inception", "vgg16"]), default="inception")
@click.option("--from", "source", type=_FILE, metavar="FILE", help="The file.  [default: download it from NVIDIA]")
@click.option("--sha256", metavar="HEX", help="What the file's SHA-256 has to be.")
def fetch_detector(name: str, source: Optional[Path], sha256: Optional[str]) -> None:
    """Put the detector NAME into the hosts' download cache, so that metrics work offline. Hosts of StyleGAN3's shape, which
    download it pickled, are given this file where the cache has no pickle of it.

    inception (inception-2015-12-05.pt): FID, KID, inception score. vgg16 (vgg16.pt): precision and recall, path length.

    Exit code: 0 it is there, 1 it could not be downloaded, 2 it is not that file.
    """
    from ..data.show import bytes_bar
    from .fetch import fetch

    with bytes_bar(name) if source is None else nullcontext(lambda done, total: None) as progress:
        lines = fetch(name, source, sha256, progress)
    for line in lines:
        echo(line)
