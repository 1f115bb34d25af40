"""Adds this package's options to a host's click command, and runs the command with the seams in place.

The two-line patch, the launcher and the embedded host all end here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import signal
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import click

from training_hooks.nvidia import stop

from ..hosts import device
from ..hosts.checkout import of_script
from ..hosts.compat import fixes as compat
from ..hosts.flavour import Flavour
from ..hosts.sampler import going_on
from ..metrics.check import check_settings
from ..metrics.guard import guard_metrics
from ..metrics.install import install as install_metrics
from ..metrics.registry import register
from ..metrics.settings import MetricSettings
from ..runs.plan import write_plan
from ..support.text import echo, printable_errors
from . import arguments as loop_arguments
from . import ends, help_page, host_values, methods, options, plan_page, presets, restart, resume, world
from .data_identity import identity
from .faults import explained
from .images import check_images, faults_named
from .setups import own_setup, with_setup

__all__ = ["RankEntry", "attach"]

_ATTACHED = "_regan_ext_attached"
_ORIGINAL_ENTRY = "_regan_ext_subprocess_fn"
_SPAWNED = "__mp_main__"  # as multiprocessing calls the script of the parent in a spawned process


def attach(namespace: Dict[str, Any], hooks: Sequence[Dict[str, Any]] = ()) -> None:
    """Add the options to the click command ``main`` of a host's ``train.py``.

    Safe to repeat. Spawned processes run the host's ``train.py`` again, and not its command: there it does nothing.

    Args:
        namespace: ``globals()`` of the ``train.py``.
        hooks: keyword arguments of further hooks (``class_name`` among them) for every run.

    Raises:
        RuntimeError: ``train.py`` is not of the shape of a known host's.
        HostError: it lies in a host's folder that cannot be trained.
        UserError: a launcher such as ``torchrun`` is at work, and its environment variables are not whole.
    """
    if namespace.get(_ATTACHED) or namespace.get("__name__") == _SPAWNED:
        return
    launched = world.around()
    command = namespace.get("main")
    flavour = of_script(namespace)
    missing = flavour.missing(namespace)
    if not isinstance(command, click.Command) or command.callback is None:
        missing.insert(0, "a click command called main")
    if missing:
        raise RuntimeError(f"regan_ext cannot attach to this train.py: it has no {', '.join(missing)}")
    assert isinstance(command, click.Command) and command.callback is not None
    namespace[_ATTACHED] = True
    ours = options.added_to([str(param.name) for param in command.params], flavour.lacks)
    help_page.in_groups(command)
    command.params += ours
    if namespace["__name__"] == "__main__":
        help_page.named_as_typed(command)
    callback = command.callback

    @printable_errors()
    def run(**values: Any) -> Any:
        values_of_ours = {str(o.name): values.pop(str(o.name)) for o in ours if o.expose_value}
        values = host_values.checked(values, flavour.choices)
        world.check_gpus(values.get("gpus"), launched)
        asked = host_values.given(values)
        presets.say(asked, values_of_ours)
        values.update({name: value for name, value in asked.items() if value is not None})
        with_hooks = _Attachment(namespace, flavour, options.resolve(values_of_ours), hooks)
        return with_hooks.run(callback, values, asked)

    command.callback = run
    if launched is not None:
        prepare = functools.partial(_host_module, namespace, "dnnlib")
        world.under(launched, command, prepare, ends.diverged_code(flavour.restart))


@dataclass(frozen=True)
class RankEntry:
    """Takes the place of the host's ``subprocess_fn`` in every process: mends, chooses the device, then calls it.

    Args:
        main: name of the module that holds the host's own.
        device: "cpu" or "cuda".
        shared: path by which several processes agree on when to stop; None for one process.
        metrics: what metrics compare with what, and when.
        plan: what the methods plan, which the first process writes into the run folder; filled before the processes begin.
    """

    main: str
    device: str
    shared: Optional[str] = None
    metrics: MetricSettings = field(default_factory=MetricSettings)
    plan: Dict[str, Any] = field(default_factory=dict)

    def __call__(self, *given: Any, **named: Any) -> None:
        """Number of the process, keyword arguments of the loop, and a folder where processes meet, by the host's own names."""
        compat.prepare_imports()
        main = importlib.import_module(self.main) if self.main != "__main__" else sys.modules["__main__"]
        entry = vars(main).get(_ORIGINAL_ENTRY, main.subprocess_fn)
        rank, args, temp_dir = inspect.signature(entry).bind(*given, **named).args
        # In a spawned process the module called __main__ holds a copy of the names that its functions see.
        launched = world.around()
        self._prepare(entry.__globals__, args["num_gpus"], launched)
        metric_main = importlib.import_module("metrics.metric_main")
        install_metrics(metric_main, replace(self.metrics, names=tuple(args.get("metrics") or ())))
        guard_metrics(metric_main)
        _skip_samples(args)
        if rank == 0 and self.plan.get("methods"):
            write_plan(args["run_dir"], self.plan)
        stop.install(world.board() if launched is not None and launched.size > 1 else self.shared)
        try:
            with explained(lambda: args), faults_named(args["training_set_kwargs"]["path"]), world.own_group(launched):
                entry(rank, args, temp_dir)
            _leave_group()
        finally:
            stop.end_loader()

    def _prepare(self, namespace: Dict[str, Any], num_processes: int, launched: Optional[world.World]) -> None:
        """Make this process fit to run a host's loop, from the ``subprocess_fn`` with these global names."""
        modules: List[Any] = [importlib.import_module("training.training_loop"), namespace]
        compat.apply(sys.modules)
        if "host_module" in namespace:  # the embedded host's subprocess_fn lies in the wheel's own train module
            modules.append(_host_module(namespace, "train"))
        if self.device == "cpu":
            device.use_cpu(modules, num_processes if launched is None else launched.local_size)
        elif launched is not None:
            device.use_gpu(modules, launched.rank, launched.local_rank)


def _leave_group() -> None:
    """The hosts leave their process group to the interpreter's end, where its threads may abort a run that went well."""
    distributed = sys.modules["torch"].distributed
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _host_module(namespace: Dict[str, Any], name: str) -> Any:
    """The module ``name`` of the host whose ``train.py`` has ``namespace``."""
    return namespace["host_module"](name) if "host_module" in namespace else importlib.import_module(name)


def _skip_samples(args: Any) -> None:
    """Let the data begin where the resumed run left it."""
    skipped = args.get("progress_fn", {}).get("resume_batches", 0) * (args["batch_size"] // args["num_gpus"])
    if skipped:
        sampler = sys.modules["torch_utils.misc"].InfiniteSampler
        plain = sampler.__iter__
        sampler.__iter__ = lambda self: going_on(plain, self, skipped)


class _Attachment:
    """One call of the host's command."""

    def __init__(self, namespace: Dict[str, Any], flavour: Flavour, request: options.Request, hooks: Sequence[Dict[str, Any]]):
        self.namespace, self.flavour = namespace, flavour
        self.hooks = list(hooks)
        self.args: Any = {}
        self.plan: Dict[str, Any] = {}  # what the methods plan, once it is known
        self.is_time_up = False
        try:
            self.request = replace(request, device=device.resolve(request.device))
        except ValueError as err:
            raise click.BadParameter(str(err), param_hint="--device") from err
        if request.device == "auto" and self.request.device == "cpu":
            echo("Note: PyTorch finds no CUDA device, so the CPU is used, which is slow; regan-ext doctor says why.", err=True)

    def run(self, callback: Any, values: Dict[str, Any], asked: Dict[str, Any]) -> Any:
        """Call the host's own ``callback`` with its options, its seams in place.

        Args:
            callback: of its command.
            values: of its options.
            asked: the same, None for those that nobody has asked for.
        """
        is_half_alone = values.get("cfg") in self.flavour.half_alone
        if self.request.device == "cpu" and "fp32" in asked and asked["fp32"] is None and not is_half_alone:
            values["fp32"] = True  # half precision is slower than single on a CPU
        found = resume.find(values.get("resume"), values.get("outdir") or ".")
        if found is None and values.get("resume") == resume.LATEST:
            values["resume"] = None  # the host would take it for an address
        outdir = None if values.get("dry_run") else values.get("outdir")
        host = functools.partial(_host_module, self.namespace)
        flavour = self.flavour
        setup, entry = own_setup(self.namespace, flavour, callback), self.namespace[flavour.entry]

        def setup_with_hooks(**config: Any) -> Tuple[str, Any]:
            names = config.get("metrics")
            if names and not isinstance(names, str):
                host("dnnlib")  # the embedded host's modules import each other in a circle; this is the way in
                register(host("metrics.metric_main"), names)  # before it looks at --metrics
            if config.get("data"):
                check_images(config["data"], values.get("outdir"))
            images, is_dry = identity(config.get("data")), bool(values.get("dry_run"))
            description, self.args, resumed = loop_arguments.set_up(setup, config, found, host, flavour, is_dry, images)
            if self.request.device == "cpu":
                loop_arguments.load_on_cpu(self.args, asked.get("workers"))
            suffix, plan = loop_arguments.edit(self.args, self.request, self.hooks, host, flavour, resumed, outdir)
            self.plan.update(plan)
            self.args["progress_fn"][resume.IMAGES] = images
            again = None if outdir is None else restart.find(flavour, self.args, outdir, description + suffix)
            if again is not None:
                loop_arguments.take_up(self.args, again, host, flavour, images)
            measured = replace(self.request.metrics, names=tuple(self.args.get("metrics") or ()))
            construct = host("dnnlib").util.construct_class_by_name
            check_settings(measured, self.args["training_set_kwargs"], construct, flavour=flavour)
            host_values.check_run_folder(values.get("outdir") or ".", description + suffix)
            if values.get("dry_run"):
                if resumed is not None:
                    echo(f"Resume: {resumed.outcome}")
                for line in plan_page.describe(plan, methods.configured(self.request, plan["batch_size"])):
                    echo(line)
            return description + suffix, self.args

        main, plain = self.namespace["__name__"], self.namespace[flavour.setup]
        self.namespace[_ORIGINAL_ENTRY] = entry
        launched = world.around()
        several = launched is None and (values.get("gpus") or 1) > 1
        try:
            with tempfile.TemporaryDirectory() as temporary, self._time_limit():
                shared = os.path.join(temporary, "stop") if several else None
                self.namespace[flavour.entry] = RankEntry(main, self.request.device, shared, self.request.metrics, self.plan)
                if several:
                    stop.install(shared)  # the parent of the ranks hears of it first
                launching = with_setup(self.namespace, flavour, callback, setup_with_hooks)
                given = contextlib.nullcontext() if launched is None else world.hand_over(launched)
                with explained(lambda: self.args), launching as command, given:
                    result, asks = self._call(command, values, (inspect.unwrap(callback), plain))
                if not values.get("dry_run"):
                    ends.tell(self.args.get("run_dir"), self.plan, self.request, self.is_time_up, flavour.restart, asks)
                return result
        finally:
            for number in stop.signals():
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self.namespace[flavour.entry] = entry
            del self.namespace[_ORIGINAL_ENTRY]

    def _call(self, command: Any, values: Dict[str, Any], own: Sequence[Any]) -> Tuple[Any, bool]:
        """Call it, and again where another run was faster to make the folder of the number that one of the host's ``own``
        functions has chosen. Returns what it does, and whether the host asks to be started again."""
        while True:
            try:
                return command(**values), False
            except SystemExit as end:
                if end.code is None or end.code != self.flavour.restart:
                    raise
                return None, True
            except (FileExistsError, AssertionError) as err:
                taken = self._taken(err, own)
                if taken is None or not os.path.isdir(taken):
                    raise
                echo(f"Another run has just taken {taken}; this one takes the next number.", err=True)

    def _taken(self, err: Exception, own: Sequence[Any]) -> Optional[str]:
        """The run folder that the host could not make, of what one of its ``own`` functions has raised; None where it is of
        something else. The host asserts that there is no such folder yet."""
        *_, (frame, _) = traceback.walk_tb(err.__traceback__)
        named = getattr(err, "filename", None)
        chosen = self.args.get("run_dir")
        if chosen is None:  # stylegan3-fun's is known once a function of another file has made it
            return named or frame.f_locals.get("run_dir")
        is_host = any(frame.f_code is getattr(function, "__code__", None) for function in own)
        return chosen if is_host or named == chosen else None

    @contextlib.contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Ask this process to stop when ``--max-hours`` are over."""
        timer = None
        if self.request.max_hours is not None:
            timer = threading.Timer(3600 * self.request.max_hours, self._end_of_time)
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    def _end_of_time(self) -> None:
        if stop.requested():  # a second request would end the run without its snapshot
            return
        self.is_time_up = True
        echo(f"\nThe time of --max-hours={self.request.max_hours:g} is up.", err=True)
        os.kill(os.getpid(), signal.SIGTERM)
