"""What has to be known of a family of hosts, as a value: one file a family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .detectors import STYLEGAN2_ADA

__all__ = ["CHANNELS", "Counter", "Flavour", "Unfit", "has_other_synthesis"]

#: Why whole channels do not fit some networks of a host whose ``--cfg=stylegan2`` has others.
CHANNELS = "whole channels can be pruned in StyleGAN2 synthesis networks only, which --cfg=stylegan2 has"


@dataclass(frozen=True)
class Unfit:
    """What does not fit a host.

    Args:
        why: for the user, with the remedy where there is one.
        when: whether it is so with these keyword arguments of the loop or, of an export, with this generator; None = always.
    """

    why: str
    when: Optional[Callable[[Any], bool]] = None


def has_other_synthesis(generator: Any) -> bool:
    """Whether a generator has no synthesis network of StyleGAN2."""
    return not hasattr(getattr(generator, "synthesis", None), "b4")


@dataclass(frozen=True)
class Counter:
    """An option by which a host's loop begins at another image than the first.

    Args:
        option: as it is typed.
        key: of the loop's keyword arguments.
        unit: images that one of it stands for.
    """

    option: str
    key: str
    unit: int


@dataclass(frozen=True)
class Flavour:
    """A family of hosts that are alike in what this package touches.

    Args:
        name: name that people know the host by.
        files: files that a checkout has, relative to its folder.
        setup: function of ``train.py`` in which the keyword arguments of the loop are born, or which is handed them.
        entry: function of ``train.py`` that each process of a run begins with.
        capacity: where the networks' capacity lies among the keyword arguments, as paths of keys.
        minibatch_std: where the settings of the minibatch standard deviation lie, as a path of keys; empty = there is none.
        group: images of a minibatch group where nothing is said.
        lazy: "G" and "D" → iterations between two steps of lazy regularisation where nothing is said; None = there are none.
        is_handed: whether the command makes the arguments itself and hands them to ``setup``, as ``c``, to be launched.
        path_length: weight of path length regularisation where nothing is said.
        relatives: file that no host of the family has → name of the relative that has it and cannot be trained.
        further: file → functions that it defines besides ``functions``, those of a class as "Class.function".
        words: word that methods use → the argument that it stands for, as a path of keys.
        of_beginning: arguments that the host makes of whether a run begins from other networks, as paths of keys.
        unfit: feature → what does not fit. A feature is a method's name ("apa"), a value of one of its settings
            ("regan.target=D"), or such a value for one network ("regan.granularity=channel of G").
        exports: format of ``export`` → what does not fit.
        adaptive: argument that the host's adaptive augmentation is on with.
        counter: option for another first image; None where the command has none.
        sizes: what the loop constructs its networks with, besides what the arguments say.
        channels: of the images that its networks are for; None = those of any.
        batches: batches of images that an iteration takes from the loader.
        scheduled: "lr" and "beta2" → where its first value lies, as a path of keys, in a loop that sets both right before each
            step; empty where the optimizers' arguments have them.
        rolling: name of the one file that all snapshots are written to; None where each has its own.
        restart: exit code by which the host asks to be started again; None = it never does.
        choices: option → values that it takes, where the host does not say which are wrong.
        lacks: our own options that mean nothing here, by their parameters' names.
        packages: distributions that it needs besides those that all hosts do.
        half_alone: values of ``--cfg`` whose networks know no single precision.
        judge: feature network that its D is made of, which no metric must use; None = its D is all its own.
        detectors: addresses of the feature networks that its metrics download, with {} for the file's name without ending.
        fault: what the host would fail of, in a loop's keyword arguments, with its remedy; None where there is nothing.
    """

    name: str
    files: Tuple[str, ...]
    setup: str
    entry: str
    capacity: Tuple[Tuple[str, ...], ...]
    minibatch_std: Tuple[str, ...]
    group: int
    lazy: Mapping[str, Optional[int]]
    is_handed: bool = False
    path_length: float = 2
    relatives: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    of_beginning: Tuple[Tuple[str, ...], ...] = (("ema_rampup",), ("ada_kimg",))
    unfit: Mapping[str, Unfit] = field(default_factory=dict)
    exports: Mapping[str, Unfit] = field(default_factory=dict)
    adaptive: str = "ada_target"
    counter: Optional[Counter] = None
    sizes: Tuple[str, ...] = ("c_dim", "img_resolution", "img_channels")
    channels: Optional[int] = None
    batches: int = 1
    scheduled: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    rolling: Optional[str] = None
    restart: Optional[int] = None
    choices: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    lacks: Tuple[str, ...] = ()
    packages: Tuple[str, ...] = ()
    half_alone: Tuple[str, ...] = ()
    judge: Optional[str] = None
    detectors: str = STYLEGAN2_ADA
    fault: Callable[[Mapping[str, Any]], Optional[str]] = lambda args: None

    @property
    def functions(self) -> Mapping[str, Tuple[str, ...]]:
        """File → functions that it is recognised by."""
        own = {"train.py": (self.setup, self.entry, "main"), "training/training_loop.py": ("training_loop",)}
        return {**own, **self.further}

    @property
    def marks(self) -> int:
        """How many files and functions it is recognised by."""
        return len(self.files) + sum(map(len, self.functions.values()))

    def refusal(self, feature: str, args: Mapping[str, Any]) -> Optional[str]:
        """Why a feature cannot be had with these keyword arguments of the loop; None where it can."""
        return _why(self.unfit.get(feature), args)

    def export_refusal(self, to: str, generator: Any) -> Optional[str]:
        """Why a generator cannot be exported to this format; None where it can."""
        return _why(self.exports.get(to), generator)

    def set_capacity(self, args: Any, key: str, value: int) -> None:
        """Set ``key`` ("channel_base" or "channel_max") of all networks in a loop's keyword arguments."""
        for path in self.capacity:
            _at(args, path)[key] = value

    def tell(self, args: Any, word: str, value: Any) -> Optional[Any]:
        """Set the argument that a word stands for, where the host has it and nobody has set it.

        Returns:
            What somebody has set; None = nobody has.
        """
        path = self.words.get(word)
        if path is None:
            return None
        *outer, key = path
        place = args
        for each in outer:
            place = place.setdefault(each, {})
        given = place.get(key)
        place[key] = given or value
        return given or None

    def minibatch_group(self, args: Mapping[str, Any], batch_gpu: int) -> int:
        """Images that the discriminator compares with each other, of ``batch_gpu`` that it is given at once."""
        if not self.minibatch_std:
            return 1
        given: Dict[str, Any] = _at(args, self.minibatch_std)
        if not given.get("mbstd_num_channels", 1):
            return 1
        return min(given.get("mbstd_group_size", self.group) or batch_gpu, batch_gpu)

    def reg_interval(self, args: Mapping[str, Any], network: str) -> Any:
        """Iterations between two steps of lazy regularisation of a network ("G" or "D"); None = there are none."""
        return args.get(f"{network}_reg_interval", self.lazy[network])

    def optimizer(self, args: Mapping[str, Any], network: str) -> Dict[str, Any]:
        """Learning rate ("lr"), decays ("betas") and "reg_interval" of a network's ("G" or "D") optimizer at the beginning."""
        kwargs = args[f"{network}_opt_kwargs"]
        lr, betas = kwargs.get("lr"), kwargs.get("betas", (0.9, 0.999))
        if self.scheduled:
            lr, betas = _at(args, self.scheduled["lr"]), (betas[0], _at(args, self.scheduled["beta2"]))
        return {"lr": lr, "betas": betas, "reg_interval": self.reg_interval(args, network)}

    @staticmethod
    def copy(path: Tuple[str, ...], source: Any, target: Any) -> None:
        """Let an argument, as a path of keys, be in ``target`` what it is in ``source``; it is absent where it is there."""
        there, here = source, _at(target, path[:-1])
        for key in path[:-1]:
            there = there.get(key) or {}
        here.pop(path[-1], None)
        if path[-1] in there:
            here[path[-1]] = there[path[-1]]

    def missing(self, namespace: Mapping[str, Any]) -> List[str]:
        """The functions that the global names of a ``train.py`` lack."""
        return [name for name in (self.setup, self.entry) if not callable(namespace.get(name))]


def _why(found: Optional[Unfit], given: Any) -> Optional[str]:
    return found.why if found is not None and (found.when is None or found.when(given)) else None


def _at(args: Any, path: Tuple[str, ...]) -> Any:
    for key in path:
        args = args[key]
    return args
