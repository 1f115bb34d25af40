"""A row a method: what the suites over all methods have to know of each."""

from __future__ import annotations

import atexit
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from support.tickets import write_random_mask

from training_hooks.methods.method import find


@dataclass(frozen=True)
class Case:
    """One method.

    Args:
        name: name of the method.
        options: options that switch it on in a run of 16 iterations of 64 images.
        settings: values of settings as JSON has them, each other than its default, that go together.
        bad: (setting, value) that have to be refused.
        suffix: what it adds to the name of that run's folder.
        own_loop: settings with which it has something to do in a loop of one's own of some ten iterations of 8 images.
        frozen: weights that stay as they are in that loop.
        off: options that leave it off.
    """

    name: str
    options: List[str]
    settings: Dict[str, Any]
    bad: List[Tuple[str, Any]]
    suffix: str = ""
    own_loop: Dict[str, Any] = field(default_factory=dict)
    frozen: Tuple[str, ...] = ()
    off: List[str] = field(default_factory=list)


#: A metric that needs nothing from the network; ``{detector}`` is where ``support.detectors`` has written a feature network,
#: ``{networks}`` where ``support.networks`` has written a snapshot, ``{ticket}`` the folder of a ticket of it.
METRIC = ["--metrics=fid1k_full", "--metric-detector={detector}"]

# What a ticket is given in a loop of one's own: a file for its weights, which it writes, and a mask of that loop's networks.
_FOLDER = tempfile.TemporaryDirectory()
atexit.register(_FOLDER.cleanup)
_TICKET = {
    "init": f"{_FOLDER.name}/ticket-init.pt",
    "mask": str(
        write_random_mask(
            Path(_FOLDER.name, "ticket-mask-1.pt"), {"G": {"mapping.weight": (16, 4)}, "D": {"head.weight": (4, 16)}}, 0.7
        )
    ),
    "transfer": True,
}

# A teacher for the same loop: what a state of one keeps of its D.
_TEACHER = Path(_FOLDER.name, "teacher.pt")
_LAYERS = {"fromrgb": torch.nn.Linear(64, 16), "head": torch.nn.Linear(16, 4)}
torch.save({"networks": {"D": torch.nn.ModuleDict(_LAYERS).state_dict()}}, _TEACHER)

CASES = [
    Case(
        "regan",
        ["--regan-ratio=0.3", "--regan-interval=4", "--regan-warmup=4"],
        {
            "ratio": 0.45, "interval": 77, "warmup": 13, "lr_scale": 0.5, "target": "D", "scope": "synthesis.*.weight",
            "exclude": ["*.const", "*rgb*"], "moments": "restore", "ema": "off", "finish": "sparse", "quirks": ["late"],
        },
        [
            ("ratio", 1.0), ("ratio", "0.3"), ("interval", 0), ("interval", 1.5), ("lr_scale", float("nan")), ("exclude", "a*"),
            ("lr_scale", "1:0"), ("lr_scale", "1:2:3"), ("score", "size"), ("turnover", 1.0), ("regrow", "parked"),
            ("regrow_scale", -1.0),
        ],
        suffix="-regan0.3-g4",
        own_loop={"ratio": 0.25, "interval": 3, "warmup": 1},
        off=["--regan-ratio=0"],
    ),
    Case(
        "rg",
        ["--rg", "--rg-reach=0.3@12", *METRIC],
        {
            "metric": "fid1k_full", "target": "G", "rule": "ste", "strength": 0.5, "threshold_lr": 0.1, "weights": "0.5,0.5",
            "scope": "synthesis.*.weight", "exclude": ["*.const"], "moments": "restore", "ema": "off",
        },
        [
            ("target", "E"), ("rule", "slope"), ("reach", "1@5"), ("reach", "0.3@0"), ("reach", "0.3"), ("rate", -1),
            ("rate", 2), ("strength", -1), ("threshold_lr", 0), ("weights", "0.5,0.4"), ("weights", "1"), ("weights", "a,b"),
            ("exclude", "a"),
        ],
        suffix="-rg0.3@12",
        own_loop={"reach": "0.3@4"},
        off=["--rg=false"],
    ),
    Case(
        "ticket",
        ["--ticket-init={ticket}/ticket-init.pt", "--ticket-mask={ticket}/ticket-mask-1.pt"],
        {"init": "/tmp/ticket-init.pt", "mask": "/tmp/ticket-mask-2.pt", "transfer": True, "mask_checksum": 5},
        [("init", 1), ("mask", "/tmp/ticket-mask-2.pt"), ("transfer", True), ("mask_checksum", -1), ("mask_checksum", 3)],
        suffix="-ticket-r1",
        own_loop=_TICKET,
        off=["--ticket-init=none"],
    ),
    Case(
        "freezed",
        ["--freeze-d=1block", "--resume={networks}"],
        {"layers": ["4blocks"]},
        [("layers", ["7"]), ("layers", ["-3"]), ("layers", ["0blocks"]), ("layers", ["32", "16"]), ("layers", "32")],
        suffix="-freeze-d1block",
        own_loop={"layers": ["fromrgb.*"]},
        frozen=("D.fromrgb.weight", "D.fromrgb.bias"),
        off=["--freeze-d=none"],
    ),
    Case(
        "diffaugment",
        ["--DiffAugment=color,cutout"],
        {"policy": ["cutout", "translation"]},
        [("policy", ["colour"]), ("policy", "color"), ("policy", ["color", "color"])],
        suffix="-diffaug-color-cutout",
        own_loop={"policy": ["color", "translation", "cutout"]},
        off=["--DiffAugment=none"],
    ),
    Case(
        "apa",
        ["--apa", "--apa-target=0.5"],
        {"target": -0.5, "kimg": 20, "interval": 3},
        [("target", 1.5), ("kimg", 0), ("interval", 0), ("interval", True)],
        suffix="-apa-target0.5",
        own_loop={"target": -1, "kimg": 0.02, "interval": 2},
        off=["--apa=false"],
    ),
    Case(
        "advaug",
        ["--advaug=g,d", "--advaug-step=0.02"],
        {
            "halves": ["g", "d"], "step": 0.5, "steps": 3, "relative": True, "direction": "reference", "place_g": "b4",
            "place_d": "b4.fc", "weight": 0.5,
        },
        [
            ("halves", ["e"]), ("halves", "g"), ("halves", ["d", "d"]), ("step", -0.01), ("steps", 0), ("relative", 1),
            ("direction", "down"), ("place_g", 4), ("place_d", "b4.fc"), ("weight", -1), ("noise", -0.1),
        ],
        suffix="-advaug-gd-step0.02",
        own_loop={"halves": ["g", "d"], "place_g": "mapping"},
        off=["--advaug=none"],
    ),
    Case(
        "teacher",
        ["--teacher={networks}", "--teacher-alpha=0.7"],
        {
            "network": "/tmp/teacher.pkl", "alpha": "1:0.5@20kimg", "mode": "live", "data": "/tmp/large.zip", "augment": True,
            "checksum": 5, "data_checksum": 6,
        },
        [
            ("alpha", "1.5"), ("alpha", "-0.1"), ("alpha", "half"), ("alpha", "0.9:0.5"), ("alpha", "nan"), ("mode", "frozen"),
            ("augment", 1), ("network", 3), ("checksum", -1), ("checksum", 3), ("data_checksum", 3),
        ],
        suffix="-teacher-fixed-a0.7",
        own_loop={"network": str(_TEACHER), "alpha": "0.9:0.5@6"},
        off=["--teacher=none"],
    ),
    Case(
        "groups",
        ["--groups-interval=30", "--groups-window=12"],
        {"interval": 100, "grow": 1.5, "longest": 400, "window": 5, "push": 0.1, "limit": 3.0, "still": 0.1},
        [
            ("interval", 21), ("interval", 1.5), ("grow", 0.9), ("longest", -1), ("window", -1), ("push", -0.1), ("limit", 0.5),
            ("still", -1),
        ],
        suffix="-groups30",
        own_loop={"interval": 6, "window": 2},
        off=["--groups-interval=0"],
    ),
    Case(
        "stability",
        ["--stability"],
        {"images": 4, "seed": 3},
        [("images", 0), ("seed", -1)],
        off=["--stability=false"],
    ),
]  # fmt: skip


def combined() -> List[List[Case]]:
    """All methods, those that cannot be combined in different lists; in each as many as can be."""

    def exclude(one: Case, other: Case) -> bool:
        method = find(one.name)
        return method is not None and other.name in method.excludes

    def fits(case: Case, others: List[Case]) -> bool:
        return not any(exclude(case, other) or exclude(other, case) for other in others)

    lists: List[List[Case]] = []
    for case in CASES:
        if all(case not in one for one in lists):
            chosen = [case]
            for other in CASES:
                if other is not case and fits(other, chosen):
                    chosen.append(other)
            lists.append(chosen)
    return lists
