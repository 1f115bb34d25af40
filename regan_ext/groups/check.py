"""What is known of groups before anything trains: whether they can exchange discriminators, and when they do."""

from __future__ import annotations

import os
from typing import Any, List, Mapping, Optional, Tuple

import torch

from training_hooks.methods.groups.config import GroupsConfig
from training_hooks.methods.groups.schedule import Regroupings
from training_hooks.methods.method import entries
from training_hooks.nvidia.host_loop import total_iterations

from ..steps.rehearsal import rehearsed
from ..support.errors import UserError
from .plan import GroupsFolder, Member

__all__ = ["devices_of", "moments_of"]

# Methods that need D's optimizer and keep nothing of one D: the same layers or masks in all groups, or a judge beside D.
_KEEP_NOTHING = ("groups", "freezed", "ticket", "teacher")
_SEEDS = 2**32  # of the hosts, which give each process seeds of its own


def moments_of(groups: GroupsFolder) -> List[int]:
    """The iterations after which the groups exchange discriminators.

    Raises:
        UserError: ``train`` does not take the options, or runs of them cannot exchange.
    """
    try:
        args = rehearsed(Member(groups, 0).command(False))
    except UserError as err:
        raise UserError(f"train: {err.message}".replace("--groups-", "--")) from err
    progress = args.get("progress_fn") or {}
    if progress.get("resume_state") or progress.get("resume_plain"):
        raise UserError("--resume: groups begin anew; to begin from the networks alone, copy the snapshot into another folder")
    if (groups.seed + groups.count) * (groups.gpus or 1) > _SEEDS:
        raise UserError(f"--seed={groups.seed} is too large for {groups.count} groups, each of which has the next seed")
    if groups.count == 1:
        return []
    return Regroupings(_config(args)).until(total_iterations(args) - 1)


def _config(args: Mapping[str, Any]) -> GroupsConfig:
    """The settings of the exchange, of a run's keyword arguments.

    Raises:
        UserError: a method keeps something of each D that cannot go with it.
    """
    found = GroupsConfig()
    for entry in entries(args):
        config = entry.config()
        if isinstance(config, GroupsConfig):
            found = config
            continue
        method = None if config is None or entry.name in _KEEP_NOTHING else entry.method
        if method is not None and "D" in method.networks(config):
            aims = any(each.name == "target" for each in method.settings)
            remedy = f"give {method.flag('target')}=G" if aims else f"leave out {method.switch_flag}"
            raise UserError(f"{method.title} of D would have to go to another group with each discriminator; {remedy}")
    return found


def devices_of(at_once: int, gpus: Optional[int]) -> Tuple[Optional[str], ...]:
    """The GPUs of each of the groups that train at once; None for one at a time, and without any.

    Raises:
        UserError: there are too few.
    """
    there, each = torch.cuda.device_count(), gpus or 1
    if at_once > 1 and 0 < there < at_once * each:
        raise UserError(f"--at-once={at_once}: groups of --gpus={each} need {at_once * each} GPUs, and there are {there}")
    if at_once == 1 or there == 0:
        return (None,) * at_once
    names = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name] or list(map(str, range(there)))
    return tuple(",".join(names[slot * each : (slot + 1) * each]) for slot in range(at_once))
