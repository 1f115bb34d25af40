"""Lightning and Accelerate as far as the recipes call them, for where they are not installed: the package needs neither."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any, List

import pytest
import torch

__all__ = ["WrappedOptimizer", "provide"]


class WrappedOptimizer:
    """Both wrap an optimizer in another object, and step the one inside."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.step()

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()


class _LightningModule(torch.nn.Module):
    device = torch.device("cpu")
    made: List[WrappedOptimizer]

    def optimizers(self) -> List[WrappedOptimizer]:
        return self.made

    def manual_backward(self, loss: torch.Tensor) -> None:
        loss.backward()


class _Trainer:
    def __init__(self, max_epochs: int, **given: Any):
        self.max_epochs = max_epochs

    def fit(self, module: Any, data: Any) -> None:
        module.made = [WrappedOptimizer(optimizer) for optimizer in module.configure_optimizers()]
        module.on_train_start()
        for _ in range(self.max_epochs):
            for index, batch in enumerate(data):
                module.training_step(batch, index)


class _Accelerator:
    device = torch.device("cpu")

    def __init__(self, cpu: bool):
        assert cpu

    def prepare(self, *given: Any) -> Any:
        return tuple(WrappedOptimizer(each) if isinstance(each, torch.optim.Optimizer) else each for each in given)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


_PARTS = {"lightning": {"LightningModule": _LightningModule, "Trainer": _Trainer}, "accelerate": {"Accelerator": _Accelerator}}


def provide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the frameworks that are missing be imported."""
    for name, parts in _PARTS.items():
        if importlib.util.find_spec(name) is None:
            module = ModuleType(name)
            vars(module).update(parts)
            monkeypatch.setitem(sys.modules, name, module)
