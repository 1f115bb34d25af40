"""What the server of ``warm`` imports: all that a training run imports on its way to the first iteration."""

from __future__ import annotations

import pickle
from typing import Any, Callable, Tuple

import torch
import torch._dynamo  # by the first optimizer
import torch.utils.data
import torch.utils.tensorboard

import regan_ext.train.attach  # noqa: F401
from regan_ext.hosts.embedded_train import host_module

for _name in ("train", "training.training_loop", "training.loss", "training.dataset", "training.augment"):
    host_module(_name)


class _Loader(torch.utils.data.DataLoader):
    """Its workers are forks that get the images' data set as spawned ones do, pickled."""

    def __init__(self, dataset: Any, num_workers: int = 0, **kwargs: Any):
        if num_workers > 0:
            dataset, kwargs["multiprocessing_context"] = pickle.loads(pickle.dumps(dataset)), "fork"
        super().__init__(dataset, num_workers=num_workers, **kwargs)


def _ranks(fn: Callable[..., None], args: Tuple[Any, ...], nprocs: int) -> None:
    fn, args = pickle.loads(pickle.dumps((fn, args)))
    torch.multiprocessing.start_processes(fn, args, nprocs, start_method="fork")


def fork_instead_of_spawn() -> None:
    """Let the processes that this one starts be forks of it."""
    torch.utils.data.DataLoader = _Loader
    torch.multiprocessing.spawn = _ranks
