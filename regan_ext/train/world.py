"""Training in processes that something else has started: ``torchrun``, on one machine or several.

The process of rank 0 runs the host's command. What the host would spawn goes to the others through the launcher's store; they
parse nothing, print nothing, and call it with their own rank.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import pickle
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Callable, Iterator, Mapping, Optional, Tuple

import click

from training_hooks.nvidia import stop
from training_hooks.nvidia.board import Board, Store

from ..support.errors import UserError
from ..support.text import echo
from .setups import replaced

__all__ = ["World", "around", "board", "check_gpus", "hand_over", "own_group", "under"]

_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
_CONNECT = timedelta(minutes=5)
_POLL = 0.1  # seconds
# Keys in the store.
_RUN = "regan_ext/run"  # what the host would spawn
_ANSWER = "regan_ext/answer"  # what keeps a rank from training; empty = nothing
_GO = "regan_ext/go"  # nothing keeps any
_END = "regan_ext/end"  # exit code of rank 0


@dataclass(frozen=True)
class World:
    """Place of this process among those that a launcher has started.

    Args:
        rank: among all of them, from 0.
        size: how many there are.
        local_rank: among those of this machine, from 0; number of its GPU.
        local_size: how many there are on this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int


def around(environment: Optional[Mapping[str, str]] = None) -> Optional[World]:
    """What the environment variables of ``env://`` say, as ``torchrun`` sets them; None where no launcher is at work.

    Args:
        environment: None for this process's.

    Raises:
        UserError: some of them are missing or wrong.
    """
    known = os.environ if environment is None else environment
    size = _number(known, "WORLD_SIZE", 1) if "RANK" in known and "WORLD_SIZE" in known else 1
    if "LOCAL_RANK" not in known and size == 1:
        return None  # some clusters give every job a world of one
    needed = ("RANK", "WORLD_SIZE", "LOCAL_RANK", *(_ADDRESS if size > 1 else ()))
    missing = [name for name in needed if not known.get(name)]
    if missing:
        found = next(name for name in ("LOCAL_RANK", "WORLD_SIZE") if name in known)
        raise UserError(f"{missing[0]} is not set, but {found} is: start the processes with torchrun, or unset {found}")
    rank, local_rank = _number(known, "RANK", 0), _number(known, "LOCAL_RANK", 0)
    local_size = _number(known, "LOCAL_WORLD_SIZE", 1) if "LOCAL_WORLD_SIZE" in known else size
    for name, value, end in (("RANK", rank, size), ("LOCAL_RANK", local_rank, local_size)):
        if value >= end:
            of = "WORLD_SIZE" if name == "RANK" else "LOCAL_WORLD_SIZE"
            raise UserError(f"{name}={value} is not less than {of}={end}: start the processes with torchrun")
    if size > 1:
        _number(known, "MASTER_PORT", 0)
    return World(rank, size, local_rank, local_size)


def _number(known: Mapping[str, str], name: str, least: int) -> int:
    text = known[name]
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name}={text!r} is not a whole number from {least} on: start the processes with torchrun")
    return int(text)


def check_gpus(gpus: Any, world: Optional[World]) -> None:
    """Check that as many processes are asked for as there are.

    Raises:
        click.BadParameter: there are more or fewer.
    """
    if world is not None and (gpus or 1) != world.size:
        there = f"the launcher has started {world.size} in all (WORLD_SIZE)"
        raise click.BadParameter(f"{gpus or 1} processes, but {there}; leave it out, or start as many", param_hint="--gpus")


# ---------------------------------------------------------------- the command


def under(world: World, command: click.Command, prepare: Callable[[], Any], diverged: int) -> None:
    """Let a host's command train in the processes of ``world``.

    Args:
        world: the launcher's.
        command: of the host, edited in place.
        prepare: imports what the loop's arguments are made of.
        diverged: exit code of a run that has diverged.
    """
    for param in command.params:
        if param.name == "gpus":
            param.default, param.required = world.size, False
    if world.size > 1:
        main = _leading(command.main) if world.rank == 0 else _following(world, prepare, diverged)
        vars(command)["main"] = main


def _leading(plain: Callable[..., Any]) -> Callable[..., Any]:
    """The command in the process of rank 0, which tells the others when it has ended, be it without training."""

    def main(*args: Any, **kwargs: Any) -> Any:
        _connect()
        code = 1
        try:
            result = plain(*args, **kwargs)
            code = 0
            return result
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        finally:
            _store().set(_END, str(code))

    return main


def hand_over(world: World) -> "contextlib.AbstractContextManager[None]":
    """Where the host spawns the processes of its run, in the process of rank 0, give it those of ``world``."""

    def spawn(fn: Callable[..., None], args: Any = (), nprocs: int = 1, **options: Any) -> None:
        _store().set(_RUN, pickle.dumps((fn, args)))
        problems = [_wait(f"{_ANSWER}{rank}")[1].decode() for rank in range(1, world.size)]
        for problem in filter(None, problems):
            raise UserError(problem)
        _store().set(_GO, "")
        fn(0, *args)

    import torch

    return replaced(vars(torch.multiprocessing), "spawn", spawn)


def _following(world: World, prepare: Callable[[], Any], diverged: int) -> Callable[..., Any]:
    """What stands for the command in the other processes."""

    def follow() -> None:
        _connect()
        given = _unless_ended(_RUN)
        prepare()
        fn, args = pickle.loads(given)  # as what a host spawns is
        _store().set(f"{_ANSWER}{world.rank}", _lacks(world, args[0]))
        _unless_ended(_GO)
        multiprocessing.set_start_method("spawn", force=True)  # as the host does where it launches processes
        fn(world.rank, *args)
        if stop.diverged():
            raise click.exceptions.Exit(diverged)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command("train", callback=follow, context_settings=settings, add_help_option=False).main


def _unless_ended(key: str) -> bytes:
    """What rank 0 sets under ``key``; ends this process with it, without a word, where its command has ended."""
    found, value = _wait(key, _END)
    if found == _END:
        raise click.exceptions.Exit(int(value))
    return value


def _lacks(world: World, args: Mapping[str, Any]) -> str:
    """What this machine has not, of what the loop's arguments name; empty = nothing."""
    places = {
        "--outdir": args["run_dir"],
        "--data": args["training_set_kwargs"]["path"],
        "--resume": args.get("progress_fn", {}).get("resume_state"),
    }
    for option, path in places.items():
        if path and not os.path.exists(path):
            where = f"the machine of rank {world.rank} ({os.uname().nodename})"
            return f"{option}: {path} is not on {where}; it has to be at the same path on all machines"
    return ""


# ---------------------------------------------------------------- what the processes have in common


def _store() -> Any:
    """The store that all processes share, as ``env://`` has them meet."""
    return _store_at(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])


@functools.cache
def _store_at(address: str, port: str) -> Any:
    import torch

    store, _, _ = next(torch.distributed.rendezvous("env://", timeout=_CONNECT))
    return store


def _connect() -> None:
    """Meet the other processes, or end this one as a mistake of the user's."""
    try:
        _store()
    except (RuntimeError, ValueError, OSError) as err:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(err).strip().split("\n")[0]
        echo(f"Error: MASTER_ADDR: the processes do not meet at {where}: {reason}", err=True)
        sys.exit(UserError.exit_code)


def _wait(*keys: str) -> Tuple[str, bytes]:
    """The first of ``keys`` that another process sets, and what it sets it to, however long that takes.

    Raises:
        UserError: the process that holds the store is gone.
    """
    try:
        while True:
            for key in keys:
                if _store().check([key]):  # not its wait(), during which no signal is heard
                    return key, bytes(_store().get(key))
            time.sleep(_POLL)
    except RuntimeError as err:
        raise UserError("the process that the others meet at is gone; what it has printed says why") from err


def board() -> Board:
    """Where the processes of a run leave notes for each other."""
    return Store(_store(), "regan_ext/stop")


@contextlib.contextmanager
def own_group(world: Optional[World]) -> Iterator[None]:
    """Let the host make its process group of the processes of ``world``: it would have them meet in a folder of one machine."""
    if world is None or world.size == 1:
        yield
        return
    import torch

    plain = torch.distributed.init_process_group

    def init_process_group(backend: Optional[str] = None, **options: Any) -> None:
        group = torch.distributed.PrefixStore("regan_ext/group", _store())
        plain(backend, store=group, rank=world.rank, world_size=world.size)

    with replaced(vars(torch.distributed), "init_process_group", init_process_group):
        yield
