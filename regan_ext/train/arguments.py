"""Turns this package's options into edits of the keyword arguments of a host's training loop."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import click

from training_hooks.core.state_check import check_fit
from training_hooks.nvidia import stop
from training_hooks.nvidia.host_loop import lacking
from training_hooks.nvidia.seams import Ticker
from training_hooks.sparsity.selection import parameter_shapes

from ..hosts.compat import fixes as compat
from ..hosts.flavour import Flavour
from ..support.errors import UserError
from ..support.paths import is_address
from ..support.text import echo
from . import disk, method_files, methods, options, resume, resume_options
from .resume_networks import fetch, open_networks, read_networks, shapes_of
from .setups import Setup

__all__ = ["HostModule", "check_batch", "edit", "load_on_cpu", "networks_of", "set_up", "take_up"]

HostModule = Callable[[str], Any]  # the host's module of a name, such as "dnnlib"
_KEEPERS = ["training_hooks.observers.best.keep_best"]
_Shapes = Dict[str, Dict[str, Tuple[int, ...]]]  # network → name of a weight or bias → shape


def set_up(
    setup: Setup,
    config: Mapping[str, Any],
    found: Optional[resume.Resume],
    host: HostModule,
    flavour: Flavour,
    dry_run: bool = False,
    images: Optional[Mapping[str, Any]] = None,
) -> Tuple[str, Any, Optional[resume.Resume]]:
    """The host's own description and keyword arguments of the loop, and ``found`` with what is known of it now.

    A run that goes on is set up without ``--resume``: the host would forget the ramp-up of the average and the pace of ADA.
    Those of a run that began from other networks are in its state.

    Args:
        setup: the host's own function.
        config: its keyword arguments, from the command line.
        found: what ``--resume`` names.
        host: the host whose loop will run.
        flavour: family of hosts that it is of.
        dry_run: nothing of a pickle may be run, and nothing downloaded.
        images: ``data_identity.identity`` of the training images.

    Raises:
        UserError: the snapshot is no network pickle, or a run that was named as a folder is over.
    """
    if found is None:
        description, args = setup(**config)
        return description, args, _begin(args.get("resume_pkl"), host, dry_run)
    description, args = setup(**{**config, "resume": None})
    found = resume.unless_other_images(found, args, images)
    if found.state is None:
        networks = read_networks(found.snapshot) if dry_run else open_networks(found.snapshot, host)
        if networks is not None:
            found = resume.continuation(
                replace(found, shapes=networks.shapes, sums=networks.sums), networks, args, flavour, images
            )
    if found.goes_on:
        found = resume.unless_over(found, args["total_kimg"])
    if not found.goes_on:
        return (*setup(**config), found)
    resume.keep_beginning(found, args, flavour)
    return description, args, found


def _begin(pickle_or_url: Optional[str], host: HostModule, dry_run: bool) -> Optional[resume.Resume]:
    """The networks that the host itself has found a name for. It takes what it does not know for a path or an address, and
    finds out late.
    """
    if not pickle_or_url:
        return None
    if not is_address(pickle_or_url):
        raise UserError(f"--resume: {pickle_or_url} does not exist, and is none of the host's networks")
    if dry_run:
        echo(f"Dry run: {pickle_or_url} was not downloaded, so what it holds was not looked at.", err=True)
        return None
    snapshot = fetch(pickle_or_url, host)
    networks = open_networks(snapshot, host)
    return resume.Resume(snapshot, shapes=networks.shapes, sums=networks.sums)


def load_on_cpu(args: Any, workers: Optional[int]) -> None:
    """Edit how the loop loads images where it runs on the CPU.

    Processes that load images beside it would save nothing there: each imports PyTorch and the host, and then waits.

    Args:
        args: what the host made of its options; edited in place.
        workers: number of such processes that was asked for; None for none.
    """
    args["data_loader_kwargs"]["pin_memory"] = False
    if workers is None:
        args["data_loader_kwargs"]["num_workers"] = 0
        args["data_loader_kwargs"].pop("prefetch_factor", None)  # PyTorch refuses it where no process fetches


def edit(
    args: Any,
    request: options.Request,
    hooks: Sequence[Dict[str, Any]],
    host: HostModule,
    flavour: Flavour,
    found: Optional[resume.Resume] = None,
    outdir: Optional[str] = None,
) -> Tuple[str, Any]:
    """Edit the loop's keyword arguments in place, and check that what they ask for can be done.

    Args:
        args: what the host made of its options.
        request: what was asked for; its device is "cpu" or "cuda".
        hooks: keyword arguments of further hooks, ``class_name`` among them.
        host: the host whose loop will run.
        flavour: family of hosts that it is of.
        found: the snapshot to go on from, or to begin from.
        outdir: folder of the runs, which has to have room for this one; None where nothing will be written.

    Returns:
        The suffix of the run's description, and what the methods plan, see ``methods.add``.

    Raises:
        click.ClickException: an option that does not go with the others, with the snapshot, or with the disk.
    """
    unknown = lacking(host("training.training_loop").training_loop)
    if unknown:
        what = f"its training_loop has no variable {', '.join(unknown)}"
        raise UserError(f"{flavour.name}: {what}, so its commit is none that can be trained; docs/hosts.md has those that can")
    for kwargs in (args["loss_kwargs"], args.get("augment_kwargs")):
        if kwargs:  # a host that is not whole ends here, and not in the run
            host(kwargs["class_name"].rpartition(".")[0])
    fault = flavour.fault(args)
    if fault is not None:
        raise UserError(f"{flavour.name}: {fault}")
    suffix = _edit_sizes(args, request.loop, flavour)
    if any(fix.name == "betas" and fix.is_present() for fix in compat.FIXES):
        for key in ("G_opt_kwargs", "D_opt_kwargs"):
            compat.float_betas(args[key])
    networks = networks_of(host, args, flavour)
    shapes = {kind: shapes_of(network) for kind, network in networks.items()}
    if methods.tell(args, request, flavour, shapes):
        networks = networks_of(host, args, flavour)
    trained = {kind: parameter_shapes(network) for kind, network in networks.items()}
    zeros = {kind: _zeros(network) for kind, network in networks.items()} if request.methods and found is None else {}
    method_files.check(args, request, host, networks["D"], is_dry=outdir is None)
    is_resumed = bool(args.get("resume_pkl")) or (found is not None and found.goes_on)
    begun = {} if found is None or found.goes_on else found.sums
    of_methods, plan = methods.add(args, request, list(hooks), flavour, shapes, trained, zeros, is_resumed, begun)
    args["abort_fn"] = stop.Stopper()
    args["data_loader_kwargs"]["worker_init_fn"] = stop.OutliveSignals()
    args["progress_fn"] = Ticker(
        states=request.states, keep_states=request.keep_states, on_nan=request.on_nan, keepers=_KEEPERS
    )
    suffix += of_methods
    if found is not None:
        suffix += _edit_resume(args, found, shapes, networks, flavour)
    _check_counter(args, flavour, found)
    if outdir is not None:
        sparse_phases = max((each.get("sparse_phases", 0) for each in plan["methods"].values()), default=0)
        disk.check(outdir, disk.plan(args, shapes, request, sparse_phases))
    return suffix, plan


def _edit_sizes(args: Any, asked: Mapping[str, int], flavour: Flavour) -> str:
    """The options that stylegan3 has and other hosts have not."""
    suffix = ""
    if "tick" in asked:
        args["kimg_per_tick"] = asked["tick"]
    for name, key in (("cbase", "channel_base"), ("cmax", "channel_max")):
        if name in asked:
            flavour.set_capacity(args, key, asked[name])
            suffix += f"-{name}{asked[name]}"
    if "batch_gpu" in asked:
        args["batch_gpu"] = asked["batch_gpu"]
    check_batch(args, flavour, "--batch-gpu" if "batch_gpu" in asked else "--batch")
    return suffix


def check_batch(args: Any, flavour: Flavour, option: str) -> None:
    """Check that the networks can be given the images of a process and round.

    Args:
        args: keyword arguments of the loop.
        flavour: family of hosts.
        option: that sets their number.

    Raises:
        click.BadParameter: they cannot.
    """
    if "batch_gpu" not in args:  # the host has one for each network, and checks them
        return
    per_process = args["batch_size"] // args["num_gpus"]
    fitting = [n for n in range(1, per_process + 1) if per_process % n == 0 and _unfit(args, flavour, n) is None]
    problem = _unfit(args, flavour, args["batch_gpu"])
    if per_process % args["batch_gpu"] != 0:
        problem = f"{args['batch_gpu']} does not divide the {per_process} images of a process (--batch / --gpus)"
    if problem is not None:
        larger = next(n for n in itertools.count(per_process) if _unfit(args, flavour, n) is None) * args["num_gpus"]
        remedy = f"--batch-gpu={' or '.join(map(str, fitting))} would do" if fitting else f"--batch={larger} would do"
        raise click.BadParameter(f"{problem}; {remedy}", param_hint=option)


def _unfit(args: Any, flavour: Flavour, batch_gpu: int) -> Optional[str]:
    """Why the networks cannot be given ``batch_gpu`` images at once; None where they can."""
    group = flavour.minibatch_group(args, batch_gpu)
    if batch_gpu % group != 0:
        return f"{batch_gpu} images per process and round are no multiple of the discriminator's minibatch group of {group}"
    if batch_gpu < 2 and args["loss_kwargs"].get("pl_weight", flavour.path_length) != 0:
        return "path length regularisation needs at least 2 images per process and round, not 1"
    return None


def _check_counter(args: Any, flavour: Flavour, found: Optional[resume.Resume]) -> None:
    """Check that the loop counts from where the methods do. With a state the options have been compared already.

    Raises:
        click.BadParameter: it does not.
    """
    counter = flavour.counter
    if counter is None or not args.get(counter.key) or (found is not None and found.state is not None):
        return
    first = args[counter.key] * counter.unit
    if found is not None and found.goes_on:
        if not 0 <= found.images - first < args["batch_size"]:
            where = f"{found.snapshot} is at {found.images / 1000:g} kimg, not at {first / 1000:g}"
            raise click.BadParameter(f"{where}; leave it out, the run goes on from there", param_hint=counter.option)
    elif "hooks" in args["loss_kwargs"]:
        left = f"--kimg={args['total_kimg'] - first / 1000:g} without it trains as many"
        raise click.BadParameter(f"methods count from a run's first image; {left}", param_hint=counter.option)


def _edit_resume(args: Any, found: resume.Resume, shapes: _Shapes, networks: Mapping[str, Any], flavour: Flavour) -> str:
    """Go on from ``found``, or begin from its networks where that is all there is."""
    if found.shapes is not None:
        resume.check_architecture(found.snapshot, found.shapes, shapes)
    if not found.goes_on:
        return ""
    args["resume_pkl"] = str(found.snapshot)
    _restore(args, found, networks, flavour)
    return "-resumed"


def take_up(
    args: Any, found: resume.Resume, host: HostModule, flavour: Flavour, images: Optional[Mapping[str, Any]] = None
) -> None:
    """Edit the loop's keyword arguments, so that a run which its host takes up by itself goes on with its state.

    Args:
        args: edited once already.
        found: snapshot that the host finds, and its state.
        host: the host whose loop will run.
        flavour: family of hosts that it is of.
        images: ``data_identity.identity`` of the training images.

    Raises:
        UserError: it was trained with other options or on other images.
    """
    resume.unless_other_images(found, args, images)
    _restore(args, found, networks_of(host, args, flavour), flavour)


def _restore(args: Any, found: resume.Resume, networks: Mapping[str, Any], flavour: Flavour) -> None:
    """Have the loop go on from the state of ``found``, or from what is known without one."""
    ticker = args["progress_fn"]
    if found.state is not None:
        resume_options.check(found.snapshot, found.state["options"], args)
        try:
            check_fit(found.state, networks, args["num_gpus"])
        except ValueError as err:
            raise UserError(f"--resume: {found.state_file}: the state cannot be used: {err}") from err
        resume_options.check_hooks(found.state_file, found.state["hooks"], args, networks)
        ticker.update(resume_state=str(found.state_file), resume_batches=found.state["batch_idx"] * flavour.batches)
    else:
        plain = dict(found.plain or {})
        ticker.update(resume_plain=plain, resume_batches=found.images // args["batch_size"] * flavour.batches)
        p = f" and p={plain['augment_p']:.3g}" if "augment_p" in plain else ""
        takes_over = f"going on from its networks, {found.images // 1000} kimg{p}"
        begins = "optimizers, masks and random state begin anew"
        echo(f"{found.snapshot} has no state file: {takes_over}; {begins}.", err=True)


def _zeros(network: Any) -> Tuple[str, ...]:
    return tuple(name for name, p in network.named_parameters() if p.ndim >= 2 and not p.any())


def networks_of(host: HostModule, args: Any, flavour: Flavour) -> Dict[str, Any]:
    """ "G" and "D", made by the host's own classes.

    Args:
        host: the host whose loop will run.
        args: keyword arguments of the loop.
        flavour: family of hosts that it is of.

    Raises:
        UserError: they need a package that is not installed, or images of more or fewer channels.
    """
    util = host("dnnlib").util
    dataset = util.construct_class_by_name(**args["training_set_kwargs"])
    known = dict(c_dim=dataset.label_dim, img_resolution=dataset.resolution, img_channels=dataset.num_channels)
    if flavour.channels not in (None, dataset.num_channels):
        what = f"the networks of {flavour.name} are for images of {flavour.channels} channels"
        raise UserError(f"{what}, and those of --data have {dataset.num_channels}; save them as RGB")
    common = {name: known[name] for name in flavour.sizes}
    try:
        return {kind: util.construct_class_by_name(**args[f"{kind}_kwargs"], **common) for kind in ("G", "D")}
    except ModuleNotFoundError as err:
        what = f"the networks of {flavour.name} need {err.name}, which is not installed"
        raise UserError(f"{what}: python -m pip install {err.name}") from err
