"""What has to be known of a family of hosts, as a value: one file a family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

__all__ = ["Flavour"]


@dataclass(frozen=True)
class Flavour:
    """A family of hosts that are alike in what this package touches.

    Args:
        name: name that people know the host by.
        files: files that a checkout has, relative to its folder.
        functions: file → functions that it defines.
        setup: function of ``train.py`` in which the keyword arguments of the loop are born.
        entry: function of ``train.py`` that each process of a run begins with.
        capacity: where the networks' capacity lies among the keyword arguments, as paths of keys.
        minibatch_std: where the settings of the minibatch standard deviation lie, as a path of keys.
        group: images of a minibatch group where nothing is said.
        lazy: "G" and "D" → iterations between two steps of lazy regularisation where nothing is said.
    """

    name: str
    files: Tuple[str, ...]
    functions: Mapping[str, Tuple[str, ...]]
    setup: str
    entry: str
    capacity: Tuple[Tuple[str, ...], ...]
    minibatch_std: Tuple[str, ...]
    group: int
    lazy: Mapping[str, int]

    def set_capacity(self, args: Any, key: str, value: int) -> None:
        """Set ``key`` ("channel_base" or "channel_max") of all networks in a loop's keyword arguments."""
        for path in self.capacity:
            _at(args, path)[key] = value

    def minibatch_group(self, args: Mapping[str, Any], batch_gpu: int) -> int:
        """Images that the discriminator compares with each other, of ``batch_gpu`` that it is given at once."""
        given: Dict[str, Any] = _at(args, self.minibatch_std)
        if not given.get("mbstd_num_channels", 1):
            return 1
        return min(given.get("mbstd_group_size", self.group) or batch_gpu, batch_gpu)

    def reg_interval(self, args: Mapping[str, Any], network: str) -> Any:
        """Iterations between two steps of lazy regularisation of a network ("G" or "D"); None = there are none."""
        return args.get(f"{network}_reg_interval", self.lazy[network])

    def missing(self, namespace: Mapping[str, Any]) -> List[str]:
        """The functions that the global names of a ``train.py`` lack."""
        return [name for name in (self.setup, self.entry) if not callable(namespace.get(name))]


def _at(args: Any, path: Tuple[str, ...]) -> Any:
    for key in path:
        args = args[key]
    return args
