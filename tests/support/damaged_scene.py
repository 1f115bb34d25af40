"""A folder with what a run, a table, a search and a data set leave, to be damaged, and the commands that read it."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from .attack import Attack, Sandbox
from .damaged_files import WAYS, damage_file
from .processes import TESTS

__all__ = ["READERS", "Scene"]

_TRAIN = ["--host=embedded", "--outdir=runs", "--data=data.zip", "-n"]

#: Name of a file → the commands that read it. RUN is the run folder, OPTIONS what it was trained with.
READERS: Dict[str, Sequence[Sequence[str]]] = {
    "run": (
        ("report", "RUN", "--out=report.html"),
        ("watch", "RUN", "--once"),
        ("export", "RUN/network-snapshot-000002.pkl", "--to=sparse", "--host=embedded", "--out=sparse.pkl"),
        ("export", "RUN/network-snapshot-000002.pkl", "--to=state-dict", "--host=embedded", "--out=tensors.pt"),
        ("metrics", "run", "RUN/network-snapshot-000002.pkl", "--host=embedded", "--metrics=none"),
        ("train", *_TRAIN, "OPTIONS", "--resume=latest"),
        ("train", *_TRAIN, "OPTIONS", "--resume=RUN"),
        ("train", *_TRAIN, "OPTIONS", "--resume=RUN/network-snapshot-000002.pkl"),
    ),
    "data.zip": (
        ("train", *_TRAIN, "OPTIONS"),
        ("train", *_TRAIN, "OPTIONS", "--cond=1"),
        ("data", "check", "my-images", "data.zip"),
        ("data", "subset", "data.zip", "out.zip", "--count=3"),
        ("data", "prepare", "my-images", "data.zip", "out.zip", "--resolution=16"),
    ),
    "results.jsonl": (("tables", "show", "digits-few-shot", "--results=results.jsonl"),),
    "tables": (
        ("tables", "show", "digits-few-shot"),
        ("tables", "results", "digits-few-shot"),
        ("tables", "run", "digits-few-shot", "--dry-run"),
    ),
    "preset.json": (("train", *_TRAIN, "OPTIONS", "--regan-preset=preset.json"),),
    "indices.txt": (("data", "subset", "data.zip", "out.zip", "--indices=indices.txt"),),
    "study.db": (("tune", "--study=study.db", "--show"),),
}


class Scene:
    """What is to be damaged, kept whole in ``template`` and copied for every attack.

    Args:
        template: an empty folder.
        run: a finished run folder of the embedded host, with states.
        data: the zip that it was trained from.
        options: what else it was trained with.
    """

    def __init__(self, template: Path, run: Path, data: Path, options: Sequence[str]):
        self._template = template
        self._options = list(options)
        shutil.copy(data, template / "data.zip")
        (template / "runs").mkdir()
        self._run = f"runs/{run.name}"
        shutil.copytree(run, template / "runs" / run.name)
        cell = template / "tables" / "digits-few-shot" / "stylegan2-digits-100-seed0"
        cell.mkdir(parents=True)
        shutil.copytree(run, cell / run.name, ignore=shutil.ignore_patterns("*.pt"))  # tables read no states
        lines = (TESTS.parent / "docs" / "results" / "digits-few-shot.jsonl").read_text().splitlines(keepends=True)
        (template / "results.jsonl").write_text("".join(lines[:3]))
        preset = {"ratio": 0.3, "interval": "20it", "warmup": "13it", "lr_scale": 0.5, "granularity": "weight"}
        (template / "preset.json").write_text(json.dumps({"regan": preset}))
        (template / "indices.txt").write_text("# three of 64\n00000.png\n00003.png\n00007.png\n")
        with contextlib.closing(sqlite3.connect(template / "study.db")) as database:
            database.execute("create table others (name text)")

    def attack(self, folder: Path, chance: random.Random) -> Tuple[Attack, str, Sandbox]:
        """A command that reads something damaged, what was damaged and how, and the folder to run it in.

        Args:
            folder: does not exist yet.
            chance: decides.
        """
        shutil.copytree(self._template, folder, symlinks=True)
        place = chance.choice(["run", "run", "run", "run", "data.zip", "data.zip", *READERS])
        files = [
            path for path in sorted(folder.rglob("*")) if path.is_file() and self._lies_in(place, path.relative_to(folder))
        ]
        path = chance.choice([path for path in files if path.suffix in WAYS] if chance.random() < 0.8 else files)
        how = damage_file(path, chance)
        arguments: List[str] = []
        for word in chance.choice(READERS[place]):
            arguments += self._options if word == "OPTIONS" else [word.replace("RUN", self._run)]
        return Attack(arguments[0], tuple(arguments[1:])), f"{path.relative_to(folder)} {how}", Sandbox(folder)

    def _lies_in(self, place: str, path: Path) -> bool:
        inside = self._run if place == "run" else place
        return str(path) == inside or str(path).startswith(f"{inside}/")
