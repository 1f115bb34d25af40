"""The files that are made between the runs of a ticket, from what runs have left and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import torch

from training_hooks.core.files import whole_file
from training_hooks.core.tensor_files import TensorFileError
from training_hooks.methods.tickets import prune
from training_hooks.methods.tickets.files import Init, Mask, read_init, read_mask, write_mask
from training_hooks.sparsity.masks import pruned_count

from ..runs.chain import last_run
from ..runs.find import best_snapshot
from ..snapshots.open import open_snapshot
from ..support.errors import UserError
from ..support.reading import Damaged, mapping, read_json, whole
from .capacity import capacity_of, parameters
from .ticket import Rule, Ticket

__all__ = [
    "Level", "capacity", "check_capacity", "check_mask", "find_capacity", "find_next", "find_one_shot", "find_random",
    "rule_of",
]  # fmt: skip


@dataclass(frozen=True)
class Level:
    """How many weights a ticket keeps: as many as a round, or by sparsity.

    Args:
        round: of the ticket; None = by sparsity.
        sparsity: share of the weights in scope that are pruned.
    """

    round: Optional[int] = None
    sparsity: float = 0.0

    def __str__(self) -> str:
        return f"{self.sparsity:g}" if self.round is None else str(self.round)

    def kept(self, numel: int, share: float) -> int:
        """Number of weights kept of ``numel``, where each round prunes ``share``."""
        if self.round is None:
            return numel - pruned_count(numel, self.sparsity)
        return prune.kept_after(numel, share, self.round)


def rule_of(kind: str, rule: Rule, **more: Any) -> Dict[str, Any]:
    """What the file of a mask says of how it was found."""
    found = {"kind": kind, "scope": rule.scope, **more}
    return found if kind == "random" else {**found, "score": rule.score, "from": rule.source}


def check_mask(path: Path, rule: Mapping[str, Any], before: Optional[Path] = None) -> Optional[str]:
    """Why the file of a mask is not the one that would be made; None where it is.

    Args:
        path: of the mask.
        rule: how it is found.
        before: file of the mask that it is pruned from; None of one that is pruned from a dense one.
    """
    try:
        mask = read_mask(path)
        earlier = None if before is None else read_mask(before).checksum
    except (TensorFileError, OSError) as err:
        return str(err)
    if dict(mask.rule) != dict(rule):
        return f"{path} was found by {_words(mask.rule)}, not by {_words(rule)}"
    if earlier is not None and mask.before != earlier:
        return f"{path} was pruned from another mask than {before} holds"
    return None


def check_capacity(path: Path) -> Optional[str]:
    """Why the file of a capacity holds none; None where it does."""
    try:
        return None if whole(mapping(read_json(path)).get("cbase")) is not None else f"{path} names no cbase"
    except Damaged as err:
        return f"{path} {err}"


def _words(rule: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in rule.items())


# ---------------------------------------------------------------- masks


def find_next(ticket: Ticket, rule: Rule, round_: int) -> None:
    """Write the masks of a round, from the end of the one before.

    Raises:
        UserError: that has left no snapshot to open.
        ValueError: a file cannot be used, or no such mask is in these networks.
    """
    init, networks = read_init(ticket.init), _end_of(ticket, rule, round_ - 1)
    before = _dense(init, networks, rule) if round_ == 1 else read_mask(ticket.mask(str(round_ - 1)))
    mask = prune.following(before, init, networks, rule.share, rule.score)
    write_mask(replace(mask, rule=rule_of("magnitude", rule, share=rule.share)), ticket.mask(str(round_)))


def find_one_shot(ticket: Ticket, rule: Rule, level: Level, path: Path) -> None:
    """Write masks of a sparsity that are pruned at once, from the end of round 0; see ``find_next``."""
    init, networks = read_init(ticket.init), _end_of(ticket, rule, 0)
    before, keeps = _dense(init, networks, rule), {}
    for kind, keep in before.networks.items():
        sizes = prune.scores(networks[kind], list(keep), init.networks[kind], rule.score)
        keeps[kind] = prune.prune_to(keep, sizes, level.kept(_numel(keep), rule.share))
    write_mask(Mask(keeps, level.round or 1, rule_of("one-shot", rule), init.checksum, before.checksum), path)


def find_random(ticket: Ticket, rule: Rule, level: Level, seed: int, like: str, path: Path) -> None:
    """Write masks that are drawn at random; see ``find_next``.

    Args:
        ticket, rule: whose.
        level: how many weights they keep.
        seed: of the draw.
        like: "total", or "counts" for as many of each tensor as the masks of ``level.round`` keep.
        path: to write to.
    """
    init = read_init(ticket.init)
    before, keeps = _dense(init, _end_of(ticket, rule, 0), rule), {}
    found = read_mask(ticket.mask(str(level))).networks if like == "counts" else {}
    for kind, keep in before.networks.items():
        kept = prune.counts(found[kind]) if kind in found else level.kept(_numel(keep), rule.share)
        keeps[kind] = prune.random_mask(before.shapes[kind], kept, seed)
    write_mask(
        Mask(keeps, level.round or 1, rule_of("random", rule, seed=seed, like=like), init.checksum, before.checksum), path
    )


def find_capacity(ticket: Ticket, rule: Rule, level: Level, path: Path) -> None:
    """Write the capacity, as ``--cbase`` has it, of dense networks with as many parameters as a ticket keeps.

    Raises:
        UserError: see ``find_next``, or there are no networks that small.
    """
    networks = _end_of(ticket, rule, 0)
    numels = {kind: _numel(keep) for kind, keep in _dense(read_init(ticket.init), networks, rule).networks.items()}
    with whole_file(path) as file:
        file.write(json.dumps(capacity(networks, numels, rule, level), indent=2).encode() + b"\n")


def capacity(networks: Mapping[str, torch.nn.Module], numels: Mapping[str, int], rule: Rule, level: Level) -> Dict[str, int]:
    """What is known of dense networks with as many parameters as a ticket keeps.

    Args:
        networks: those that are pruned, by name.
        numels: number of their weights in scope.
        rule, level: of the ticket.

    Returns:
        "cbase", "parameters", how many were "wanted", and how many the networks have "dense".

    Raises:
        UserError: there are no networks that small.
    """
    dense = sum(map(parameters, networks.values()))
    wanted = dense - sum(numel - level.kept(numel, rule.share) for numel in numels.values())
    base, count = capacity_of(list(networks.values()), wanted)
    return {"cbase": base, "parameters": count, "wanted": wanted, "dense": dense}


def _numel(keeps: Mapping[str, torch.Tensor]) -> int:
    return sum(keep.numel() for keep in keeps.values())


def _dense(init: Init, networks: Mapping[str, torch.nn.Module], rule: Rule) -> Mask:
    return prune.dense_mask(init, networks, rule.scope)


def _end_of(ticket: Ticket, rule: Rule, round_: int) -> Dict[str, torch.nn.Module]:
    """The networks that the rule looks at, as a round has left them.

    Raises:
        UserError: it has left no snapshot that can be opened.
    """
    folder = ticket.round(round_)
    run = last_run(folder)
    if run is None or not run.is_finished:
        raise UserError(f"{folder} holds no finished run")
    path = run.last_snapshot
    if rule.source == "best":
        path = best_snapshot([part.run.folder for part in run.parts], option="--from=best")
    data = open_snapshot(path, ticket.host, ticket.trust).data
    names = {"G": "G_ema" if rule.source == "ema" else "G", "D": "D"}
    lacking = [names[kind] for kind in rule.kinds if not isinstance(data.get(names[kind]), torch.nn.Module)]
    if lacking:
        raise UserError(f"{path} holds no network {lacking[0]}")
    return {kind: data[names[kind]] for kind in rule.kinds}
