"""Ways in which files of a run or a data set get damaged, by accident or on purpose."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List

import torch

from .damage import ODD, OF_FILES, odd_value

__all__ = ["WAYS", "damage_file"]

STRANGE_NAMES = ("../x.png", "/x.png", "a\\b.png", "é.png", "\x1b[31m.png", "__MACOSX/._x.png", ".x.png")


class Payload:
    """A pickle of this creates a file when it is opened."""

    def __init__(self, mark: Path):
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return (open, (self.mark, "w"))


def _odd_start(path: Path, chance: random.Random) -> None:
    """What editors of another system put before a text."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def _other_text(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice((b"\0" * 100, b"PK\x03\x04", b"\x80\x04.", b"<html>", b"\xff\xfe", b"1\n2\n")))


def _children(content: Any) -> List[Any]:
    return list(content) if isinstance(content, dict) else list(range(len(content))) if isinstance(content, list) else []


def _with_one_changed(content: Any, chance: random.Random, children: List[Any], change: Callable[..., Any]) -> Any:
    """A copy in which one value is changed, or left out."""
    key = chance.choice(children)
    copy = dict(content) if isinstance(content, dict) else list(content)
    if isinstance(copy, dict) and chance.random() < 0.2:
        del copy[key]
    else:
        copy[key] = change(copy[key], chance)
    return copy


def _changed_state(path: Path, chance: random.Random) -> None:
    """A state file that is whole but has an absurd or a missing field."""
    state: Any = torch.load(path, weights_only=True)
    for _ in range(chance.choice((1, 1, 2))):
        state = _changed_tree(state, chance)
    torch.save(state, path)


def _changed_tree(content: Any, chance: random.Random) -> Any:
    if isinstance(content, torch.Tensor):
        shorter = content[..., :0] if content.dim() else content
        return chance.choice((shorter, content.double() * float("nan"), torch.zeros(3), None))
    children = _children(content)
    if not children or chance.random() < 0.1:
        return chance.choice([None, -1, 10**12, float("nan"), "x", [], {}, torch.zeros(2)])
    return _with_one_changed(content, chance, children, _changed_tree)


def _planted(path: Path, chance: random.Random) -> None:
    """A pickle that runs code: it leaves a file called "executed" beside it."""
    payload = Payload(path.parent / "executed")
    path.write_bytes(pickle.dumps(chance.choice((payload, {"G_ema": payload}, [payload]))))


def _other_pickle(path: Path, chance: random.Random) -> None:
    others = ({}, [], ("G", "D", "Gs"), {"G": 1, "D": 2, "G_ema": 3}, None, {"G_ema": torch.nn.ReLU()})
    path.write_bytes(pickle.dumps(chance.choice(others)))


def _changed_labels(content: Any, chance: random.Random) -> Any:
    children = _children(content)
    if not children or chance.random() < 0.2:
        return chance.choice(ODD)
    return _with_one_changed(content, chance, children, _changed_labels)


def _changed_zip(path: Path, chance: random.Random) -> None:
    """A member of the zip is damaged, renamed, doubled, or a stranger comes in."""
    with zipfile.ZipFile(path) as archive:
        members: Dict[str, bytes] = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    kind = chance.randrange(6)
    if kind == 0:
        members[name] = members[name][: chance.randrange(len(members[name]))]
    elif kind == 1:
        members[chance.choice(STRANGE_NAMES)] = members.pop(name)
    elif kind == 2:
        members[chance.choice(("x.pdf", "x.eps", "x.txt", "Thumbs.db", "x.png"))] = b"%PDF-1.4 nothing"
    elif kind == 3 and "dataset.json" in members:
        members["dataset.json"] = json.dumps(_changed_labels(json.loads(members["dataset.json"]), chance)).encode()
    elif kind == 4:
        from PIL import Image

        encoded = io.BytesIO()
        mode = chance.choice(("RGBA", "L", "RGB", "P", "1", "I;16"))
        Image.new(mode, chance.choice(((16, 16), (17, 16), (1, 1), (64, 64)))).save(encoded, format="png")
        members[name if name.endswith(".png") else "new.png"] = encoded.getvalue()
    else:
        members.pop(name)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


#: Suffix of a file → how it can be damaged, beside the ways of any file.
WAYS: Dict[str, List[Callable[[Path, random.Random], None]]] = {
    ".json": [odd_value, odd_value, _odd_start],
    ".jsonl": [odd_value, odd_value, _odd_start],
    ".pt": [_changed_state, _changed_state, _changed_state],
    ".txt": [_odd_start],
    ".db": [],
    ".pkl": [_planted, _other_pickle],
    ".zip": [_changed_zip, _changed_zip, _changed_zip, _changed_zip],
}


def damage_file(path: Path, chance: random.Random) -> str:
    """Damage a file of a run, a table, a search or a data set, and say how."""
    way = chance.choice([*OF_FILES, _other_text, *(3 * WAYS.get(path.suffix, []))])
    way(path, chance)
    return way.__name__.strip("_")
