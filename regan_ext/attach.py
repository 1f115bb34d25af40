"""Adds this package's options to a host's click command, and turns them into the host's own keyword arguments.

The two-line patch, the launcher and the embedded host all end here.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pickle
import signal
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import click

from training_hooks import loop, stop
from training_hooks.config import ReconfigurationConfig
from training_hooks.reconfiguration import select_parameters, targets
from training_hooks.seams import Ticker

from . import compat, device, options, resume
from .errors import UserError
from .metrics_guard import guard_metrics

__all__ = ["RankEntry", "attach"]

_ATTACHED = "_regan_ext_attached"
_ORIGINAL_ENTRY = "_regan_ext_subprocess_fn"
_LOOP = "training.training_loop"


def attach(namespace: Dict[str, Any], hooks: Sequence[Dict[str, Any]] = ()) -> None:
    """Add the options to the click command ``main`` of a host's ``train.py``.

    Safe to repeat, and cheap: spawned processes run the host's ``train.py`` again.

    Args:
        namespace: ``globals()`` of the ``train.py``.
        hooks: keyword arguments of further hooks (``class_name`` among them) for every run.

    Raises:
        RuntimeError: ``train.py`` is not of the shape of StyleGAN2-ADA-PyTorch's.
    """
    if namespace.get(_ATTACHED):
        return
    command = namespace.get("main")
    missing = [name for name in ("setup_training_loop_kwargs", "subprocess_fn") if not callable(namespace.get(name))]
    if not isinstance(command, click.Command) or command.callback is None:
        missing.insert(0, "a click command called main")
    if missing:
        raise RuntimeError(f"regan_ext cannot attach to this train.py: it has no {', '.join(missing)}")
    assert isinstance(command, click.Command) and command.callback is not None
    namespace[_ATTACHED] = True
    theirs = {param.name for param in command.params}
    ours = [option for option in options.click_options() if option.name not in theirs]
    command.params += ours
    callback = command.callback

    def run(**values: Any) -> Any:
        values_of_ours = {str(o.name): values.pop(str(o.name)) for o in ours}
        with_hooks = _Attachment(namespace, options.resolve(values_of_ours), hooks)
        return with_hooks.run(callback, values)

    command.callback = run


@dataclass(frozen=True)
class RankEntry:
    """Takes the place of the host's ``subprocess_fn`` in every process: mends, chooses the device, then calls it.

    Args:
        main: name of the module that holds the host's own.
        device: "cpu" or "cuda".
        shared: path by which several processes agree on when to stop; None for one process.
    """

    main: str
    device: str
    shared: Optional[str] = None

    def __call__(self, rank: int, args: Any, temp_dir: str) -> None:
        compat.prepare_imports()
        main = importlib.import_module(self.main) if self.main != "__main__" else sys.modules["__main__"]
        entry = vars(main).get(_ORIGINAL_ENTRY, main.subprocess_fn)
        # In a spawned process the module called __main__ holds a copy of the names that its functions see.
        prepare_process(entry.__globals__, self.device, args["num_gpus"])
        if args["num_gpus"] == 1:
            guard_metrics(importlib.import_module("metrics.metric_main"))
        _skip_samples(args)
        stop.install(self.shared)
        try:
            entry(rank=rank, args=args, temp_dir=temp_dir)
        finally:
            stop.end_loader()


def prepare_process(namespace: Dict[str, Any], kind: str, num_processes: int) -> List[str]:
    """Make this process fit to run a host's loop: compatibility fixes, and the CPU where asked for.

    Args:
        namespace: global names of the ``subprocess_fn`` that will run.
        kind: "cpu" or "cuda".
        num_processes: processes of the run.

    Returns:
        Names of the fixes that were needed.
    """
    loop_module = importlib.import_module(_LOOP)
    needed = compat.apply(sys.modules)
    if kind == "cpu":
        modules: List[Any] = [loop_module, namespace]
        if "host_module" in namespace:  # the embedded host's subprocess_fn lies in the wheel's own train module
            modules.append(namespace["host_module"]("train"))
        device.use_cpu(modules, num_processes)
    return needed


def _skip_samples(args: Any) -> None:
    """Let the data begin where the resumed run left it: the host's sampler is a function of the seed alone."""
    skipped = args.get("progress_fn", {}).get("resume_iterations", 0) * (args["batch_size"] // args["num_gpus"])
    if skipped:
        sampler = sys.modules["torch_utils.misc"].InfiniteSampler
        plain = sampler.__iter__
        sampler.__iter__ = lambda self: itertools.islice(plain(self), skipped, None)


class _Attachment:
    """One call of the host's command."""

    def __init__(self, namespace: Dict[str, Any], request: options.Request, hooks: Sequence[Dict[str, Any]]):
        self.namespace = namespace
        self.request = request
        self.hooks = list(hooks)
        self.resume: Optional[resume.Resume] = None
        self.args: Any = {}
        try:
            self.device = device.resolve(request.device)
        except ValueError as err:
            raise click.BadParameter(str(err), param_hint="--device") from err

    def run(self, callback: Any, values: Dict[str, Any]) -> Any:
        """Call the host's own ``callback`` with its options, its seams in place."""
        if self.device == "cpu" and "fp32" in values and values["fp32"] is None:
            values["fp32"] = True  # half precision is slower than single on a CPU
        self.resume = resume.find(values.get("resume"), values.get("outdir") or ".")
        if self.resume is not None and self.resume.state is not None and not self._is_over(values.get("kimg")):
            values["resume"] = None  # the host would forget the ramp-up of the average and the pace of ADA
        setup, entry = self.namespace["setup_training_loop_kwargs"], self.namespace["subprocess_fn"]

        def setup_with_hooks(**config: Any) -> Tuple[str, Any]:
            description, self.args = setup(**config)
            return description + self.edit(self.args), self.args

        main = self.namespace["__name__"]
        self.namespace["setup_training_loop_kwargs"] = setup_with_hooks
        self.namespace[_ORIGINAL_ENTRY] = entry
        several = (values.get("gpus") or 1) > 1
        try:
            with tempfile.TemporaryDirectory() as folder, self._time_limit():
                shared = os.path.join(folder, "stop") if several else None
                self.namespace["subprocess_fn"] = RankEntry(main, self.device, shared)
                if several:
                    stop.install(shared)  # the parent of the ranks hears of it first
                result = callback(**values)
                if stop.requested():
                    click.echo(f"Stopped. The same command with --resume={self.args['run_dir']} goes on.")
                return result
        finally:
            for number in stop.signals():
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self.namespace["setup_training_loop_kwargs"] = setup
            self.namespace["subprocess_fn"] = entry
            del self.namespace[_ORIGINAL_ENTRY]

    @contextlib.contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Ask this process to stop when ``--max-hours`` are over."""
        timer = None
        if self.request.max_hours is not None:
            timer = threading.Timer(3600 * self.request.max_hours, os.kill, [os.getpid(), signal.SIGTERM])
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _is_over(self, kimg: Optional[int]) -> bool:
        """Whether the snapshot is at the end of the budget already. A single pickle is a beginning then, not an error."""
        assert self.resume is not None
        if kimg is None or self.resume.images < kimg * 1000:
            return False
        where = f"{self.resume.snapshot} is at {self.resume.images / 1000:g} kimg, and --kimg={kimg} leaves nothing to train"
        if self.resume.asked_for_folder:
            raise UserError(f"--resume: {where}; give a larger --kimg")
        click.echo(f"{where}: a new run begins from its networks.", err=True)
        self.resume = None
        return True

    # ---------------------------------------------------------------- the host's keyword arguments

    def edit(self, args: Any) -> str:
        """Edit the loop's keyword arguments in place; returns the suffix of the run's description."""
        suffix = self._edit_loop(args)
        if self.device == "cpu":
            args["data_loader_kwargs"]["pin_memory"] = False
        if any(fix.name == "betas" and fix.is_present() for fix in compat.FIXES):
            for key in ("G_opt_kwargs", "D_opt_kwargs"):
                compat.float_betas(args[key])
        hooks = list(self.hooks)
        needed: Tuple[str, ...] = ("G",)
        settings = self.request.settings
        if settings is not None and settings["ratio"] > 0:
            config = options.configuration(settings, args["batch_size"])
            reconfiguration = self._reconfiguration(config, args)
            hooks.insert(0, reconfiguration)
            if self.request.pairs != "none":
                planless = {key: value for key, value in reconfiguration.items() if key != "plan"}
                pairs = {"class_name": "training_hooks.pairs.Pairs", "every": self.request.pairs == "all"}
                hooks.append({**pairs, "reconfiguration": planless})
            suffix += f"-regan{config.ratio:g}-g{settings.get('interval', config.interval)}"
            needed = tuple(dict.fromkeys(("G", *targets(config))))
        if hooks or args["num_gpus"] > 1:
            hooks.append({"class_name": "training_hooks.progress.Progress"})
            _install_seams(args, hooks, needed)
        args["abort_fn"] = stop.Stopper()
        args["data_loader_kwargs"]["worker_init_fn"] = stop.OutliveSignals()
        args["progress_fn"] = Ticker(states=self.request.states, keep_states=self.request.keep_states)
        if self.resume is not None:
            suffix += self._edit_resume(args, self.resume)
        return suffix

    def _edit_resume(self, args: Any, found: resume.Resume) -> str:
        """Go on from ``found``, or begin from its networks where it has no state."""
        if found.state is None or found.state_file is None:
            shapes = _network_shapes(self.namespace, args, ("G", "D"))
            resume.check_architecture(found.snapshot, _pickled_shapes(self.namespace, found.snapshot), shapes)
            return ""
        resume.check_options(found, args)
        args["resume_pkl"] = str(found.snapshot)
        args["progress_fn"].update(resume_state=str(found.state_file), resume_iterations=found.state["batch_idx"])
        return "-resumed"

    def _edit_loop(self, args: Any) -> str:
        asked, suffix = self.request.loop, ""
        if "tick" in asked:
            args["kimg_per_tick"] = asked["tick"]
        for name, key in (("cbase", "channel_base"), ("cmax", "channel_max")):
            if name in asked:
                args["G_kwargs"]["synthesis_kwargs"][key] = args["D_kwargs"][key] = asked[name]
                suffix += f"-{name}{asked[name]}"
        if "batch_gpu" in asked:
            _check_batch_gpu(asked["batch_gpu"], args)
            args["batch_gpu"] = asked["batch_gpu"]
        return suffix

    def _reconfiguration(self, config: ReconfigurationConfig, args: Any) -> Dict[str, Any]:
        """Keyword arguments of the hook, with the plan for the reader of the resolved options."""
        total = loop.total_iterations(args)
        try:
            schedule = config.schedule(total)
        except ValueError as err:
            raise click.BadParameter(str(err), param_hint="--regan-finish") from err
        shapes = _network_shapes(self.namespace, args, targets(config))
        selected: Dict[str, List[str]] = {}
        for kind in shapes:
            try:
                selected[kind] = select_parameters(config, kind, shapes[kind])
            except ValueError as err:
                hint = "--regan-ratio" if str(err).startswith("ratio") else "--regan-scope"
                raise click.BadParameter(str(err), param_hint=hint) from err
        weights = sum(_numel(shapes[kind][name]) for kind in selected for name in selected[kind])
        spans = schedule.spans(total)
        plan = {
            "iterations": total,
            "batch_size": args["batch_size"],
            "selected_tensors": sum(map(len, selected.values())),
            "selected_weights": weights,
            "sparse_phases": sum(span.phase.name == "SPARSE" for span in spans),
            "ends_in": spans[-1].phase.name.lower(),
            "phases": list(schedule.describe(args["batch_size"], total)),
        }
        return {"class_name": "training_hooks.reconfiguration.Reconfiguration", **config.to_dict(), "plan": plan}


def _install_seams(args: Any, hooks: List[Dict[str, Any]], needed: Sequence[str]) -> None:
    """Put our classes' names where the host reads class names; the host's own go to ``inner``."""
    easy = type(args["loss_kwargs"])
    loss = easy(class_name="training_hooks.seams.HookedLoss", inner=dict(args["loss_kwargs"]), hooks=hooks)
    args["loss_kwargs"] = loss
    for network in needed:
        kwargs = args[f"{network}_opt_kwargs"]
        kwargs["inner"], kwargs["class_name"] = kwargs["class_name"], "training_hooks.seams.hooked_optimizer"
        kwargs["network"], kwargs["configured_lr"] = network, kwargs["lr"]


def _check_batch_gpu(batch_gpu: int, args: Any) -> None:
    per_process = args["batch_size"] // args["num_gpus"]
    group = args["D_kwargs"]["epilogue_kwargs"].get("mbstd_group_size") or 1
    problem: Optional[str] = None
    if per_process % batch_gpu != 0:
        problem = f"{batch_gpu} does not divide the {per_process} images of a process (--batch / --gpus)"
    elif batch_gpu % min(group, batch_gpu) != 0:
        problem = f"{batch_gpu} is not a multiple of the discriminator's minibatch group of {group}"
    elif batch_gpu < 2 and args["loss_kwargs"].get("pl_weight", 2) != 0:
        problem = "path length regularisation needs at least 2 images per process and round"
    if problem is not None:
        raise click.BadParameter(problem, param_hint="--batch-gpu")


def _numel(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _network_shapes(namespace: Dict[str, Any], args: Any, networks: Sequence[str]) -> Dict[str, Dict[str, Tuple[int, ...]]]:
    """Network → parameter name → shape, from the host's own classes."""
    util = _host(namespace, "dnnlib").util
    dataset = util.construct_class_by_name(**args["training_set_kwargs"])
    common = dict(c_dim=dataset.label_dim, img_resolution=dataset.resolution, img_channels=dataset.num_channels)
    shapes = {}
    for kind in networks:
        module = util.construct_class_by_name(**args[f"{kind}_kwargs"], **common)
        shapes[kind] = {name: tuple(p.shape) for name, p in module.named_parameters()}
    return shapes


def _host(namespace: Dict[str, Any], name: str) -> Any:
    """The host's module ``name``."""
    return namespace["host_module"](name) if "host_module" in namespace else importlib.import_module(name)


def _pickled_shapes(namespace: Dict[str, Any], snapshot: Path) -> Dict[str, Dict[str, Tuple[int, ...]]]:
    """Network → parameter name → shape, of a pickle. Opening it runs its code, as the host itself will."""
    _host(namespace, "dnnlib")
    legacy = _host(namespace, "legacy")
    try:
        with open(snapshot, "rb") as file:
            networks = legacy.load_network_pkl(file)
        return {kind: {name: tuple(p.shape) for name, p in networks[kind].named_parameters()} for kind in ("G", "D")}
    except (pickle.UnpicklingError, EOFError, KeyError, AttributeError, ImportError, AssertionError) as err:
        raise UserError(f"--resume: {snapshot} cannot be read as a network pickle ({type(err).__name__}: {err})") from err
