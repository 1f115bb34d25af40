"""Damages small run folders in many ways, and tells how the commands that read them end."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from .attack import Attack, Sandbox
from .run_folders import HOOK, add_fakes, add_metric, add_snapshot, make_run, tick, write_status

__all__ = ["COMMANDS", "ODD", "OF_FILES", "build", "damage", "endless", "huge_png", "odd_value", "outcome"]

ODD: List[Any] = [
    None, True, "", "x", "9", "\x1b[31m", "\ud800", "<b>", "9" * 5000, [], {}, [[]], ["a"] * 2000, 0, -1, 0.5, 1e9, 10**9,
    10**15, 10**400, -(10**400), 1e308, 1e-320, -1e308, float("nan"), float("inf"), {"mean": 10**400}, {"mean": {"mean": 1}},
    {"mean": 1e308}, {"mean": -5}, {str(i): i for i in range(2000)}, json.loads("[" * 60 + "]" * 60),
]  # fmt: skip
_TOO_DEEP = "[" * 20_000
_SMALL = 10**6  # bytes


def build(folder: Path) -> Path:
    """A run of 6 kimg of all methods with everything that such a run writes, below a cell of the table few-shot."""
    run = folder / "few-shot" / "re-stylegan2-obama-seed0" / "00000-obama"
    values = {"ReGAN__phase": 1, "ReGAN__cycle": 2, "ReGAN__sparsity": 0.3, "ReGAN__lr": 0.002, "ReGAN__mask_change": 0.1,
              "ReGAN__hook_ms": 1.0, "ReGAN__sec_sparse": 0.1, "APA__p": 0.1, "Stability__mse": 0.1}  # fmt: skip
    lines = [tick(0, 0.01, 0.01, 500.0, **values), *(tick(i, i + 0.01, **values) for i in range(1, 7))]
    theory = {
        "generator_gmacs": 2.0,
        "sparse_generator_gmacs": 1.0,
        "layers": {"b4": {"dense": 1, "weights": 2}},
        "channels": {"b": [1, 2]},
    }
    make_run(run, lines, {**HOOK, "plan": {"theory": theory}}, augment_kwargs={"xflip": 1}, resume_pkl=None)
    add_metric(run, "fid5k_full", {0: 90.0, 3: 80.0, 6: 70.0})
    add_metric(run, "is50k_mean", {3: 1.0, 6: 2.0})
    add_fakes(run, [0, 6], side=256)
    write_status(run, 600, pid=2**22 + 1, host="elsewhere")
    add_snapshot(run, 6)
    (run.parent / "cell.json").write_text(json.dumps({"arguments": ["--seed=0"], "machine": {"machine": "m"}}))
    for name in ("demo-grid.png", "reals.png"):
        (run / name).write_bytes((run / "fakes000006.png").read_bytes())
    return run


def huge_png(path: Path, side: int = 30_000) -> None:
    """A PNG of a few bytes that says that it has 900 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b""))


def endless(path: Path) -> None:
    """A file of a terabyte without a byte on the disk."""
    with open(path, "wb") as file:
        file.truncate(10**12)


# ---------------------------------------------------------------- damages


def damage(run: Path, chance: random.Random) -> str:
    """Damage one file of the run folder or its cell, and say how."""
    files = sorted(path for path in (*run.iterdir(), run.parent / "cell.json") if path.suffix in (".json", ".jsonl", ".png"))
    path = chance.choice(files)
    is_whole = path.is_file() and not path.is_symlink() and path.stat().st_size < _SMALL
    kinds = [odd_value] * 6 if path.suffix.startswith(".json") and is_whole else []
    kind = chance.choice([*kinds, *OF_FILES])
    kind(path, chance)
    return f"{path.name}: {kind.__name__.strip('_')}"


def odd_value(path: Path, chance: random.Random) -> None:
    """An odd value somewhere in a line of JSON."""
    try:
        lines = path.read_text("utf-8").splitlines()
        number = chance.randrange(len(lines))
        content = json.loads(lines[number])
        holder, key = chance.choice(list(_places(content)))
        holder[key] = copy.deepcopy(chance.choice(ODD))
        if isinstance(holder, dict) and chance.random() < 0.1:
            holder[str(chance.choice(ODD))[:100]] = holder.pop(key)
        lines[number] = json.dumps(content)
    except (ValueError, IndexError, RecursionError):  # was damaged before
        return
    path.write_text("\n".join(lines) + "\n")


def _places(value: Any) -> "Iterator[tuple[Any, Any]]":
    """Every place in a JSON value, as its holder and the key there."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(keys):
        yield value, key
        yield from _places(inner)


def _replaced(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _gone(path: Path, chance: random.Random) -> None:
    _replaced(path)


def _folder(path: Path, chance: random.Random) -> None:
    _replaced(path)
    path.mkdir()


def _pipe(path: Path, chance: random.Random) -> None:
    _replaced(path)
    os.mkfifo(path)


def _link(path: Path, chance: random.Random) -> None:
    _replaced(path)
    path.symlink_to(chance.choice(["/dev/zero", "/dev/null", "/nowhere", path.name, "..", "stats.jsonl", "/proc/self/mem"]))


def _terabyte(path: Path, chance: random.Random) -> None:
    _replaced(path)
    endless(path)


def _text(path: Path, chance: random.Random) -> None:
    _replaced(path)
    path.write_text(
        chance.choice(["", "\n" * 1000, "x", "null", "[1]", "1" * 10_000, _TOO_DEEP, '{"a":' * 20_000, "{}\n" * 5000])
    )


def _cut(path: Path, chance: random.Random) -> None:
    if path.is_file() and path.stat().st_size < _SMALL:
        content = path.read_bytes()
        path.write_bytes(content[: chance.randrange(len(content) + 1)])


def _bytes(path: Path, chance: random.Random) -> None:
    if path.is_file() and path.stat().st_size < _SMALL:
        content = bytearray(path.read_bytes())
        for _ in range(min(len(content), 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)


def _picture(path: Path, chance: random.Random) -> None:
    _replaced(path)
    huge_png(path, chance.choice([1, 9_000, 30_000, 2**31 - 1]))


def _twice(path: Path, chance: random.Random) -> None:
    name = chance.choice(
        ["fakes999999999.png", "metric-.jsonl", "metric-\x1b[1m.jsonl", "network-pair-000003-dense.pkl", "fakes-x.png"]
    )
    if path.is_file() and path.stat().st_size < _SMALL:
        path.with_name(name).write_bytes(path.read_bytes())


OF_FILES: "List[Callable[[Path, random.Random], None]]" = [
    _gone, _folder, _pipe, _link, _terabyte, _text, _cut, _bytes, _picture, _twice
]  # fmt: skip


# ---------------------------------------------------------------- commands

COMMANDS: Dict[str, Callable[[Path], Attack]] = {
    "report": lambda run: Attack("report", (str(run), f"--out={run.parents[2] / 'page.html'}")),
    "watch": lambda run: Attack("watch", (str(run), "--once")),
    "show": lambda run: Attack("tables show", ("few-shot", f"--out={run.parents[2]}")),
    "results": lambda run: Attack("tables results", ("few-shot", f"--out={run.parents[2]}")),
    "picture": lambda run: Attack("tables picture", ("few-shot", str(run.parents[2] / "sheet.png"), f"--out={run.parents[2]}")),
}


def outcome(command: str, run: Path) -> str:
    """Either "done", "refused" in one line, or what went wrong."""
    found = Sandbox(run.parents[2]).run(COMMANDS[command](run))
    return found.fault[:300] or found.kind
