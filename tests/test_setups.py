"""Where a host makes the arguments of its loop: a function of its own, or its command, which hands them over."""

from __future__ import annotations

from typing import Any, Dict, List

import click
import pytest

from regan_ext.hosts.flavour import Flavour
from regan_ext.train.host_values import given
from regan_ext.train.setups import own_setup, with_setup

HANDED = Flavour(
    "handed", (), setup="launch_training", entry="subprocess_fn", capacity=(), minibatch_std=(), group=4,
    lazy={"G": None, "D": 16}, is_handed=True,
)  # fmt: skip


class Host:
    """A command that makes its arguments itself, hands them over, and looks at them once more."""

    def __init__(self) -> None:
        self.launched: List[Any] = []
        self.seen: Any = None
        self.namespace: Dict[str, Any] = {"launch_training": self.launch}

    def launch(self, c: Any, desc: str, outdir: str) -> None:
        c["run_dir"] = f"{outdir}/{desc}"
        self.launched.append(dict(c))

    def command(self, outdir: str, kimg: int) -> None:
        if kimg < 1:
            raise click.UsageError("kimg")
        c = {"total_kimg": kimg}
        self.namespace["launch_training"](c=c, desc="plain", outdir=outdir)
        self.seen = c


def test_arguments_can_be_had_without_launching() -> None:
    host = Host()
    setup = own_setup(host.namespace, HANDED, host.command)
    assert setup(outdir="runs", kimg=3) == ("plain", {"total_kimg": 3})
    with pytest.raises(click.UsageError):
        setup(outdir="runs", kimg=0)
    assert host.launched == [] and host.namespace == {"launch_training": host.launch}
    with pytest.raises(RuntimeError, match="launch_training"):
        own_setup(host.namespace, HANDED, lambda **options: None)()


def test_what_another_setup_makes_is_launched_and_seen_by_the_command() -> None:
    host = Host()
    plain = own_setup(host.namespace, HANDED, host.command)

    def setup(**options: Any) -> Any:
        description, args = plain(**options)
        return f"{description}-ours", {**args, "added": 1}

    with with_setup(host.namespace, HANDED, host.command, setup) as command:
        command(outdir="runs", kimg=3)
    assert host.launched == [{"total_kimg": 3, "added": 1, "run_dir": "runs/plain-ours"}] == [host.seen]
    assert host.namespace == {"launch_training": host.launch}


def test_defaults_of_the_hosts_own_are_not_given() -> None:
    seen: List[Dict[str, Any]] = []

    @click.command()
    @click.option("--fp32", type=bool, default=False)
    @click.option("--workers", type=int, default=3)
    @click.option("--snap", type=int)
    def main(**values: Any) -> None:
        seen.append(given(values))

    main.main(["--workers=3"], standalone_mode=False)
    assert seen == [{"fp32": None, "workers": 3, "snap": None}]
    assert given({"fp32": False, "snap": None}) == {"fp32": False, "snap": None}  # called by no command line
