"""Rounds of a ticket on a checkout, from end to end, and whether its pickles hold the masks where this package is not.

Command: ``python tests/robustness/tickets_on_a_host.py FOLDER [HOST ...]``, such as ``… $REGAN_TEST_HOSTS stylegan3``

FOLDER holds checkouts under the names in ``hosts.py``; none is written to. Each is copied, and ``regan-ext tickets find`` with
``--rounds=2`` trains it three times at 32x32 on the CPU, 11 iterations with smallest networks. The last snapshot of each round
is opened, and draws images, in a Python that has the checkout and can import neither ``regan_ext`` nor ``training_hooks``. Of
each tensor in G, G_ema and D that has a mask, an element has to be 0 where the mask prunes it, and nowhere else. Each round has
to keep as many weights as a fifth less is, and the copy's files have to be as they were. Prints one JSON line a host; exits
with 1 if one of them goes wrong.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, List, Tuple

import click
import torch
from common import run_fresh_python
from hosts import HOSTS, TRAINING, Check, on_checkouts

from training_hooks.methods.tickets import prune
from training_hooks.methods.tickets.files import Mask, read_mask

ROUNDS, SHARE = 2, 0.2
NETWORKS = {"G": "G", "G_ema": "G", "D": "D"}  # in a pickle → whose masks it has
# Its arguments are a checkout, a snapshot of it, and a file for the parameters.
OPEN = """
import pickle, sys
sys.modules["regan_ext"] = sys.modules["training_hooks"] = None  # to import them is an error
sys.path.insert(0, sys.argv[1])
import dnnlib, torch
with open(sys.argv[2], "rb") as file:
    networks = pickle.load(file)
images = networks["G_ema"](torch.randn(2, networks["G_ema"].z_dim), None)
assert images.shape[0] == 2 and bool(images.isfinite().all()), "images that are not finite"
found = {f"{kind}.{name}": p.detach() for kind in ("G", "G_ema", "D") for name, p in networks[kind].named_parameters()}
torch.save(found, sys.argv[3])
"""


def contents(folder: Path) -> Dict[str, str]:
    """File → digest, of all but what Python compiles."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def opened(snapshot: Path, host: Path) -> Dict[str, torch.Tensor]:
    """Such as "G.synthesis.b4.conv1.weight" → parameter, of a Python without this package."""
    out = snapshot.with_suffix(".parameters.pt")
    result = run_fresh_python(["-c", OPEN, str(host), str(snapshot), str(out)])
    assert result.returncode == 0, result.stdout[-2000:]
    parameters: Dict[str, torch.Tensor] = torch.load(out, weights_only=True)
    return parameters


def compared(mask: Mask, parameters: Dict[str, torch.Tensor]) -> Dict[str, Dict[str, int]]:
    """Network of a pickle → number of its elements that have a mask, of zeros there, and of those that are not as masked."""
    found = {}
    for kind, of in NETWORKS.items():
        pairs = [(parameters[f"{kind}.{name}"] != 0, keep) for name, keep in mask.networks[of].items()]
        found[kind] = {
            "elements": sum(keep.numel() for _, keep in pairs),
            "zeros": sum(int((~nonzero).sum()) for nonzero, _ in pairs),
            "different": sum(int((nonzero != keep).sum()) for nonzero, keep in pairs),
        }
    return found


def rounds_of(check: Check) -> Tuple[List[Any], List[str]]:
    """What was counted in each round, and what is wrong."""
    out, before, wrong = check.scratch / "tickets", contents(check.folder), []
    where = [f"--host={check.folder}", "--device=cpu", f"--outdir={out}", f"--data={check.data}"]
    found = check.ours("tickets", "find", f"--rounds={ROUNDS}", f"--share={SHARE}", *where, *TRAINING, *check.host.options,
                       "--kimg=1")  # fmt: skip
    if found.returncode != 0:
        return [], [f"exit code {found.returncode}: {found.stdout[-2000:]}"]
    counted = []
    for number in range(1, ROUNDS + 1):
        mask, (snapshot,) = read_mask(out / f"ticket-mask-{number}.pt"), (out / f"round-{number}").glob("0*/*-000001.pkl")
        of = compared(mask, opened(snapshot, check.folder))
        counted.append({"round": number, **of})
        wrong += [f"round {number}, {kind}: {each['different']} elements" for kind, each in of.items() if each["different"]]
        for kind in ("G", "D"):
            kept = sum(prune.counts(mask.networks[kind]).values())
            if kept != prune.kept_after(of[kind]["elements"], SHARE, number):
                wrong.append(f"round {number}: {kept} weights of {kind} are kept")
    if contents(check.folder) != before:
        wrong.append("the checkout is not as it was")
    return counted, wrong


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("names", metavar="[HOST]...", nargs=-1, type=click.Choice(list(HOSTS)))
def main(folder: Path, names: Tuple[str, ...]) -> None:
    """Find tickets with the checkouts of HOST in FOLDER, by default that of NVIDIA's StyleGAN2-ADA-PyTorch."""

    def work(name: str, checkout: Path, scratch: Path) -> Tuple[Dict[str, Any], bool]:
        counted, wrong = rounds_of(Check(name, checkout, scratch))
        return {"rounds": counted, "wrong": wrong}, not wrong

    on_checkouts(folder, names or ("stylegan2-ada-pytorch",), ("--kimg=1",), work)


if __name__ == "__main__":
    main()
