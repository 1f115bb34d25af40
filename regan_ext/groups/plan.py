"""What training in groups takes, as steps: stretches that all groups train, and exchanges between them."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple

from training_hooks.methods.groups.config import GroupsConfig
from training_hooks.methods.groups.schedule import partners

from ..steps.making import Making
from ..steps.shared import Shared, SharedRun
from ..steps.step import DIFFERS, FINISHED, FRESH, Say, Standing, Step
from ..support.process import Supervisor
from . import exchange

__all__ = ["GroupsFolder", "Member", "Stretch", "plan"]

_RESERVED = {
    "--states": "discriminators are exchanged by them",
    **{f"--groups-{each.name}": f"give --{each.name} itself" for each in fields(GroupsConfig)},
}


@dataclass(frozen=True)
class GroupsFolder(Shared):
    """What the runs of groups share; ``about`` has their number first, then when and how they exchange."""

    NOTE, NOUN, RESERVED = "groups.json", "group", {**Shared.RESERVED, **_RESERVED}

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.about[0].partition("=")[2])

    @property
    def seed(self) -> int:
        """Seed of the first group; each further one has the next."""
        found, before = "0", ""
        for option in self.options:
            found = option if before == "--seed" else option.partition("=")[2] if option.startswith("--seed=") else found
            before = option
        try:
            return int(found)
        except ValueError:
            return 0  # train says what is wrong with it

    def record(self, number: int) -> Path:
        """The file that says how discriminators were exchanged."""
        return self.folder / f"exchange-{number}.json"


@dataclass(frozen=True)
class Member(SharedRun):
    """A group's run, up to an exchange or to its end.

    Args:
        groups: that it is of.
        number: of the group, from 0.
        stretch: number of the stretch, from 0.
        until: iterations at whose end it is done; 0 = those of the whole run.
        devices: of the machine that it sees, as CUDA_VISIBLE_DEVICES has them; None = all.
    """

    groups: GroupsFolder
    number: int
    stretch: int = 0
    until: int = 0
    devices: Optional[str] = None

    @property
    def shared(self) -> GroupsFolder:
        return self.groups

    @property
    def name(self) -> str:
        return f"group-{self.number}"

    @property
    def variables(self) -> Mapping[str, str]:
        return {} if self.devices is None else {"CUDA_VISIBLE_DEVICES": self.devices}

    def own_options(self) -> List[str]:
        """One group alone is a plain run."""
        exchanges = [option.replace("--", "--groups-", 1) for option in self.groups.about[1:] if self.groups.count > 1]
        return exchanges + ([f"--seed={self.groups.seed + self.number}"] if self.number else [])

    def command(self, resume: bool) -> List[str]:
        return super().command(resume or self.stretch > 0)

    def standing(self) -> Standing:
        now = super().standing()
        if self.stretch and now.kind == FRESH and self.groups.record(self.stretch).exists():
            return Standing(DIFFERS, f"{self.name} holds no run that could go on; bring it back, or begin in another folder")
        if now.run is None or now.kind in (DIFFERS, FINISHED) or not self.until:
            return now
        has_come = now.run.iteration_at(now.run.kimg) >= self.until
        is_kept = any(kimg >= int(now.run.in_kimg(self.until)) for kimg, _ in now.run.starts)
        return replace(now, kind=FINISHED, detail=f"{now.run.kimg:g} kimg") if has_come and is_kept else now


@dataclass(frozen=True)
class Stretch(Step):
    """What all groups train until an exchange or to the end, some of them side by side.

    Args:
        runs: the groups' runs.
        devices: for each of those that train at once, the devices that it sees; None = all.
        seal: file that is there once what follows has been done; None of the last one.
        needs: steps that come first.
    """

    runs: Tuple[Member, ...]
    devices: Tuple[Optional[str], ...] = (None,)
    seal: Optional[Path] = None
    needs: Tuple[Step, ...] = ()

    @property
    def name(self) -> str:
        until = self.runs[0].until
        return f"until iteration {until}" if until else "to the end"

    @property
    def folder(self) -> Path:
        return self.runs[0].groups.folder

    @property
    def after(self) -> Sequence[Step]:
        return self.needs

    def standing(self) -> Standing:
        if self.seal is not None and self.seal.exists():
            return Standing(FINISHED, f"{self.seal.name} is there")
        found = [run.standing() for run in self.runs]
        differs = next((now for now in found if now.kind == DIFFERS), None)
        if differs is not None:
            return differs
        if any(now.kind != FINISHED for now in found):
            return Standing(FRESH)
        return Standing(FINISHED, "; ".join(f"{run.name} {run.result(now)}" for run, now in zip(self.runs, found)))

    def preview(self, now: Standing) -> str:
        left = [(run, run.standing()) for run in self.runs]
        return "\n".join(run.preview(now) for run, now in left if now.kind != FINISHED)

    def work(self, now: Standing, supervisor: Supervisor, handles: Sequence[int], say: Say) -> Optional[str]:
        places: "queue.Queue[Optional[str]]" = queue.Queue()
        for devices in self.devices:
            places.put(devices)

        def train(run: Member) -> Optional[str]:
            devices = places.get()
            try:
                now, reason = run.look()
                if now.kind == FINISHED or supervisor.was_signalled:
                    return None
                if reason is None:
                    run.folder.mkdir(exist_ok=True)
                    told = partial(_say_of, say, run.name)
                    reason = replace(run, devices=devices).work(now, supervisor, handles, told)
                return None if reason is None else f"{run.name}: {reason}"
            finally:
                places.put(devices)

        with ThreadPoolExecutor(len(self.devices)) as pool:
            return next((wrong for wrong in pool.map(train, self.runs) if wrong is not None), None)


def _say_of(say: Say, name: str, text: str) -> None:
    say(f"{name}: {text}")


def plan(groups: GroupsFolder, moments: Sequence[int], devices: Tuple[Optional[str], ...] = (None,)) -> Stretch:
    """The last stretch, which needs all before it.

    Args:
        groups: that train.
        moments: iterations after which they exchange discriminators.
        devices: see ``Stretch``.
    """
    needs: Tuple[Step, ...] = ()
    for number, until in enumerate(moments, 1):
        runs = tuple(Member(groups, group, number - 1, until) for group in range(groups.count))
        stretch = Stretch(runs, devices, groups.record(number), needs)
        drawn = partners(groups.count, number, groups.seed)
        make = partial(
            exchange.make, groups.record(number), [run.folder for run in runs], until, drawn, groups.host, groups.trust
        )
        check = partial(exchange.check, groups.record(number), drawn)
        how, remedy = "by exchanging discriminators", exchange.remedy(drawn)
        needs = (Making(groups.record(number), make, check, how, (stretch,), remedy),)
    return Stretch(tuple(Member(groups, group, len(moments)) for group in range(groups.count)), devices, None, needs)
