"""Two groups and two exchanges on the embedded host, once without a pause and once stopped and killed: do they end alike?

Command: ``python tests/robustness/groups_that_are_killed.py``, some minutes on two cores.

Trains ``regan-ext groups`` on 8x8 images, 16 iterations with exchanges after 6 and 13 of them, adaptive augmentation and pushed
rates. The second time the command gets SIGTERM while both groups train side by side before the first exchange, and its whole
session is killed with SIGKILL once while they train between the two exchanges, and once while the second exchange writes its
files. After each the same command is given again. At the end G, D, G_ema, both optimizers' moments and the strength of
augmentation of both groups have to be those of the first time, bit for bit. Prints one JSON line; exits with 1 if anything is
other.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch
from common import SMALL, describe, host_folder, load_networks, write_small_digits

from regan_ext.support.locks import locked
from training_hooks.nvidia import state as states

GROUPS = ["--groups=2", "--interval=6", "--window=2", "--aug=ada", "--seed=1"]
PATIENCE = 300.0  # seconds for a command to come to the moment of its end


def begin(out: Path, data: Path, *options: str) -> "subprocess.Popen[bytes]":
    where = [f"--outdir={out}", f"--data={data}", "--host=embedded"]
    command = [sys.executable, "-m", "regan_ext", "groups", *where, *GROUPS, *options, "--", *SMALL[:-1]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def finish(process: "subprocess.Popen[bytes]", code: int) -> None:
    output = process.communicate()[0].decode(errors="replace")
    assert process.returncode == code, f"exit code {process.returncode}, not {code}:\n{output[-3000:]}"


def wait(process: "subprocess.Popen[bytes]", condition: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < until, "the command ended before its moment came"
        time.sleep(0.002)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End it at once; what it had started notices so, and ends with a snapshot."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def trained(out: Path, run: int) -> List[Path]:
    """Of the groups that have finished a tick in their run of this number, the statistics."""
    return [path for path in out.glob(f"group-*/{run:05d}-*/stats.jsonl") if path.stat().st_size]


def again(out: Path, data: Path, *options: str) -> "subprocess.Popen[bytes]":
    """The same command, once what it had left alone has ended and let go of the folder."""
    while True:
        with locked(out, create=False) as mine:
            if mine is not None:
                break
        time.sleep(0.1)
    return begin(out, data, *options)


def interrupted(out: Path, data: Path) -> List[str]:
    """Train with ends that nobody asked for; returns which."""
    process = begin(out, data, "--at-once=2")
    wait(process, lambda: len(trained(out, 0)) == 2)
    process.send_signal(signal.SIGTERM)
    finish(process, 130)
    process = again(out, data, "--at-once=2")
    wait(process, lambda: (out / "exchange-1.json").exists() and len(list(out.glob("group-*/*-resumed"))) >= 2)
    kill(process)
    process = again(out, data)
    wait(process, (out / "exchange-2.part").exists)
    kill(process)
    left = sorted(path.name for path in (out / "exchange-2.part").glob("*"))
    finish(again(out, data), 0)
    return ["SIGTERM before the first exchange", "SIGKILL after it", f"SIGKILL in the second, of which there was {left}"]


def ends(out: Path) -> Dict[str, Any]:
    """Name → value of all that has to be the same, of both groups."""
    found: Dict[str, Any] = {}
    for group in sorted(out.glob("group-*")):
        state = states.in_order(max(group.glob("0*")))[-1]
        snapshot = states.snapshot_path(state)
        networks, saved = load_networks(snapshot, host_folder("embedded")), states.load(state, snapshot)
        found[f"{group.name}.p"] = torch.tensor(saved["augment_p"])
        found.update({f"{group.name}.{k}.{n}": p for k in ("G", "D", "G_ema") for n, p in networks[k].named_parameters()})
        for kind, optimizer in saved["optimizers"].items():
            moments = ((f"{i}.{name}", value) for i, entry in optimizer["state"].items() for name, value in entry.items())
            found.update({f"{group.name}.{kind} optimizer.{name}": torch.as_tensor(value) for name, value in moments})
    return found


def main() -> int:
    torch.set_num_threads(1)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        data, outs = Path(scratch, "digits8.zip"), [Path(scratch, name) for name in ("whole", "killed")]
        write_small_digits(data, side=8)
        finish(begin(outs[0], data), 0)
        done = interrupted(outs[1], data)
        one, other = map(ends, outs)
    assert one.keys() == other.keys()
    different = sorted(name for name, value in one.items() if not torch.equal(value, other[name]))
    groups_differ = any(not torch.equal(one[name], one[name.replace("group-0", "group-1")]) for name in one if ".D." in name)
    result = {
        "check": "groups_that_are_killed", "options": " ".join([*GROUPS, *SMALL[:-1]]), "ends": done,
        "tensors": len(one), "elements": sum(value.numel() for value in one.values()), "different": different,
        "groups_differ": groups_differ, "seconds": round(time.monotonic() - begun), **describe("cpu"),
    }  # fmt: skip
    print(json.dumps(result))
    return int(bool(different) or not groups_differ)


if __name__ == "__main__":
    sys.exit(main())
