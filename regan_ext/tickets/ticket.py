"""A ticket's folder: what its runs are given, how its masks are found, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ..steps.shared import Shared
from ..steps.training import noted, settings_of

__all__ = ["INIT_FILE", "REFERENCE", "SETTINGS_FILE", "Rule", "Ticket", "rule_of_folder"]

SETTINGS_FILE = "ticket.json"
INIT_FILE = "ticket-init.pt"
# Options that would make a run another than its folder says, and how to say what they would say.
_RESERVED = {
    **Shared.RESERVED,
    "--ticket-init": "it is the ticket's own file",
    "--ticket-mask": "it is the ticket's own file",
    "--ticket-transfer": "see regan-ext tickets train --help",
}


@dataclass(frozen=True)
class Rule:
    """How the masks of a round are found from the end of the one before.

    Args:
        networks: that are pruned, "both", "G" or "D".
        share: of the weights kept that a round prunes, in (0, 1).
        score: what magnitudes are measured in, "scaled", "raw" or "effective".
        source: which generator's magnitudes count, "live" or "ema" of the last snapshot, or "best", the live one of the best.
        scope: which weights can go, see ``training_hooks.methods.tickets.prune.selected``.
    """

    networks: str = "both"
    share: float = 0.2
    score: str = "scaled"
    source: str = "live"
    scope: str = "convolutions"

    @property
    def kinds(self) -> Tuple[str, ...]:
        """The networks by name."""
        return ("G", "D") if self.networks == "both" else (self.networks,)

    @property
    def options(self) -> Dict[str, str]:
        """Field → the option that it is given by."""
        return {each.name: "--from" if each.name == "source" else f"--{each.name}" for each in fields(self)}

    @property
    def arguments(self) -> Tuple[str, ...]:
        """As they would be typed."""
        return tuple(f"{option}={getattr(self, name)}" for name, option in self.options.items())


#: As the public code of the paper has it.
REFERENCE = Rule("G", 0.2, "raw", "ema", "convolutions")


@dataclass(frozen=True)
class Ticket(Shared):
    """What the runs of a ticket share; ``about`` says how masks are found."""

    NOTE, NOUN, RESERVED = SETTINGS_FILE, "ticket", _RESERVED

    @property
    def init(self) -> Path:
        """The weights that all runs begin with."""
        return self.folder / INIT_FILE

    def mask(self, title: str) -> Path:
        """The file of a mask."""
        return self.folder / f"ticket-mask-{title}.pt"

    def round(self, number: int) -> Path:
        """The folder of a round's run."""
        return self.folder / f"round-{number}"


def rule_of_folder(folder: Path, given: Mapping[str, Any], preset: Optional[str]) -> Rule:
    """How masks are found in a folder.

    Args:
        folder: of the ticket.
        given: fields of ``Rule``; None for what the folder was begun with, else for the preset's or the default.
        preset: "reference", or None.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    known = _known(settings_of(noted(folder / SETTINGS_FILE)) or ())
    return Rule(**{**(known if preset is None else vars(REFERENCE)), **chosen})


def _known(before: Sequence[str]) -> Dict[str, Any]:
    """The fields of the rule that a folder was begun with."""
    names, found = {option: name for name, option in Rule().options.items()}, {}
    for flag, _, value in (argument.partition("=") for argument in before[: len(names)]):
        if flag in names:
            found[names[flag]] = float(value) if names[flag] == "share" else value
    return found
