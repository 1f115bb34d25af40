"""The ``train`` command of a trial: what of it the user gives, and a dry run of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from training_hooks.methods.regan import METHOD
from training_hooks.nvidia import host_loop as loop

from ..runs.folder import Run
from ..runs.job import by_kimg
from ..runs.metric import MetricPoint
from ..steps.rehearsal import rehearsed
from ..support.errors import UserError
from ..support.process import module_command
from ..train.presets import fill

__all__ = ["Plan", "Refused", "Training", "dry_run", "tidy"]

_SNAPSHOTS = 10  # in a run, where the user does not say how often
_SEARCHED = tuple(METHOD.flag(each.name) for each in METHOD.settings if each.search is not None)
# Options that are the search's own, and how to say what they would say.
_RESERVED = {
    "--outdir": "runs lie beside the study",
    "--resume": "trials go on by themselves",
    "--metrics": "give --metric before the --",
    "--max-hours": "give --timeout-hours before the --",
    "-n": "there is no dry run of a search",
    "--dry-run": "there is no dry run of a search",
    "--help": "see regan-ext train --help",
    **{flag: f"give --space={flag[len('--regan-') :].replace('-', '_')}=… before the --" for flag in _SEARCHED},
}
_DEFAULTS = {"--pairs": "none", "--keep-states": "1"}  # a search writes many runs


class Refused(Exception):
    """``train`` does not take these options; the message is its own."""

    @property
    def is_about_search(self) -> bool:
        """Whether it is the value of a setting that is searched: another one may be taken."""
        named = re.match(r"Invalid value for '?(--[a-z-]+)", str(self))
        return named is not None and named[1] in _SEARCHED


@dataclass(frozen=True)
class Plan:
    """What a dry run tells of the runs of a study."""

    iterations: int
    batch: int
    total_kimg: float
    ticks: int


@dataclass(frozen=True)
class Training:
    """The options of ``train`` that all runs of a study share."""

    options: Tuple[str, ...]
    metric: str

    @classmethod
    def parse(cls, options: Sequence[str], metric: str) -> "Training":
        """Look through what the user gives.

        Raises:
            UserError: options that are the search's own.
        """
        for option in options:
            flag = option.split("=")[0]
            if flag in _RESERVED:
                raise UserError(f"{flag} cannot be given to the trials: {_RESERVED[flag]}")
        return cls(tuple(options), metric)

    def command(self, outdir: Path, more: Sequence[str]) -> List[str]:
        """A whole command."""
        defaults = [f"{flag}={value}" for flag, value in _DEFAULTS.items() if not self._has(flag)]
        where = [f"--outdir={outdir}", f"--metrics={self.metric}"]
        return module_command("regan_ext", "train", *self._options(more), *defaults, *where, *more)

    def snap(self, plan: Plan) -> List[str]:
        """The option for the number of snapshots, where the user does not give it."""
        return [] if self._has("--snap") else [f"--snap={max(1, plan.ticks // _SNAPSHOTS)}"]

    def without_method(self) -> "Training":
        """The same without Re-GAN; what its preset sets of the host's options stays."""
        options: List[str] = []
        preset = None
        rest = iter(self.options)
        for option in rest:
            if not option.startswith("--regan-"):
                options.append(option)
                continue
            flag, equals, value = option.partition("=")
            value = value if equals else next(rest, "")
            preset = value if flag == "--regan-preset" else preset
        known = METHOD.presets.get(preset or "")
        filled = fill(known, {name: None for name in (known.host if known else {}) if not self._has(f"--{name}")})
        return Training((*options, *(o for o in filled if not o.startswith(("--metrics=", "--snap=")))), self.metric)

    def _options(self, more: Sequence[str]) -> List[str]:
        """The user's options; those of whole channels would be refused where single weights are pruned."""
        if "--regan-granularity=weight" not in more:
            return list(self.options)
        channel = tuple(METHOD.flag(each.name) for each in METHOD.settings if each.needs == ("granularity", "channel"))
        kept: List[str] = []
        rest = iter(self.options)
        for option in rest:
            if option in channel:
                next(rest, None)
            elif not option.startswith(tuple(f"{flag}=" for flag in channel)):
                kept.append(option)
        return kept

    def _has(self, flag: str) -> bool:
        return any(option == flag or option.startswith(f"{flag}=") for option in self.options)


def dry_run(command: Sequence[str]) -> Plan:
    """Let ``train`` look at its options.

    Raises:
        Refused: it does not take them.
    """
    try:
        args = rehearsed(command)
    except UserError as err:
        raise Refused(err.message) from err
    batch, total = args["batch_size"], args["total_kimg"]
    iterations = -(-int(total * 1000) // batch)
    return Plan(iterations, batch, total, max(1, int(total / loop.kimg_per_tick(args))))


def tidy(run: Run, keep: Optional[MetricPoint]) -> None:
    """Delete the snapshots and states of a run that is over, but for the snapshot that ``keep`` was measured on."""
    for folder in (part.run.folder for part in run.parts):
        snapshots = by_kimg(folder)
        kept = None if keep is None else snapshots.get(int(keep.kimg))
        for path in [*snapshots.values(), *by_kimg(folder, "regan-state-", ".pt").values()]:
            if path != kept:
                path.unlink(missing_ok=True)
