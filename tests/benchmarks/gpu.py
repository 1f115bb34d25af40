"""What docs/performance.md wants to know of a GPU, piece by piece: ``python tests/benchmarks/gpu.py OUT.jsonl --host=DIR``.

DIR is a checkout. Each piece is a command of this folder, of at most ten minutes, whose JSON line is appended to OUT.jsonl with
the piece's name as soon as it is there. A piece that OUT.jsonl has is left out, so the same command goes on; ``--minutes``
begins none after that. ``--tiny`` tries all of them on the CPU with networks of 32 channels. Exit code: 0 all pieces are there,
1 some are not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional

import click

HERE = Path(__file__).resolve().parent
LIMIT = 600  # seconds of a piece

# networks, batch and half precision of --cfg=paper256 and of StyleGAN2 at 1024x1024 on one GPU
SIZES = {
    "256": ["--resolution=256", "--channels=512", "--cbase=16384", "--batch=16"],
    "1024": ["--resolution=1024", "--channels=512", "--cbase=32768", "--batch=4"],
}
TINY = ["--resolution=16", "--channels=32", "--cbase=512", "--batch=100"]


def pieces(host: str, tiny: bool) -> Dict[str, List[str]]:
    """Name of each piece, in order of what is wanted most, and its command after ``python``."""
    device, found = f"--device={'cpu' if tiny else 'cuda'}", {}
    checkout = [f"--host={host}", device]
    for size, network in SIZES.items():
        chosen, last = (TINY, "--resolution=16") if tiny else (network, f"--resolution={size}")
        for precision, halves in (("fp16", 0 if tiny else 4), ("fp32", 0)):
            name, trained = f"{size}-{precision}", ["--", f"--fp32={halves == 0}"]
            narrow = ["--ratios=0.3,0.5", f"--fp16={halves}", f"--iterations={2 if tiny else 32}"]
            found[f"narrow-{name}"] = ["narrow_speed.py", *checkout, *chosen, *narrow]
            found[f"narrow-both-{name}"] = ["narrow_speed.py", *checkout, *chosen, *narrow, "--target=both"]
            found[f"hook-{name}"] = ["hook_overhead.py", *checkout, *chosen, "--interval=4", *trained]
            found[f"memory-{name}"] = ["memory.py", *checkout, *chosen, *trained]
        found[f"mask-update-{size}"] = ["mask_update.py", device, last]
    return found


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--host", default="embedded", help="Folder of a checkout, for its CUDA operations.  [default: the embedded host]")
@click.option("--minutes", default=540.0, show_default=True, help="Begin no piece after that.")
@click.option("--only", help="Pieces whose names have this in them.")
@click.option("--tiny", is_flag=True, help="On the CPU, with networks of 32 channels.")
def main(out: Path, host: str, minutes: float, only: Optional[str], tiny: bool) -> None:
    """Append the pieces that OUT lacks to it."""
    lines = out.read_text("utf-8").splitlines() if out.exists() else []
    have = {json.loads(line)["piece"] for line in lines}
    missing = {name: call for name, call in pieces(host, tiny).items() if name not in have and (not only or only in name)}
    begin = time.monotonic()
    for name, (script, *options) in list(missing.items()):
        if time.monotonic() - begin > 60 * minutes:
            break
        click.echo(f"{name}: python tests/benchmarks/{script} {' '.join(options)}")
        try:
            done = subprocess.run(
                [sys.executable, str(HERE / script), *options], check=True, timeout=LIMIT, stdout=subprocess.PIPE
            )
        except subprocess.CalledProcessError as err:
            click.echo(f"{name}: ended with {err.returncode}")
            continue
        except subprocess.TimeoutExpired:
            click.echo(f"{name}: not finished after {LIMIT} seconds")
            continue
        line = json.loads(done.stdout.splitlines()[-1])
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"piece": name, **line}) + "\n")
        del missing[name]
    if missing:
        raise click.ClickException(f"still missing: {', '.join(missing)}")


if __name__ == "__main__":
    main()
