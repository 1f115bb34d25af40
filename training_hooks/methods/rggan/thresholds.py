"""How the thresholds of one tensor move: a rule a class. Below its threshold a weight is pruned.

Units are those of the tensor, or σ, its standard deviation when training started. What a rule computes from step to step stays
on the device: nothing waits for a GPU.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Union

import torch

from .config import RGConfig

__all__ = ["Penalty", "Ramp", "StraightThrough", "Threshold", "estimator", "make"]


def estimator(x: torch.Tensor) -> torch.Tensor:
    """What stands for the derivative of the step function at ``x``: 2 - 4|x| up to 0.4, 0.4 up to 1, 0 beyond.

    Source: Liu, Xu, Shi, Cheung, So, "Dynamic Sparse Training", ICLR 2020; the layers of RG-GAN's code have it too.
    """
    size = x.abs()
    return torch.where(size <= 0.4, 2 - 4 * size, torch.where(size <= 1, 0.4, 0.0))


def _columns(weight: torch.Tensor) -> List[int]:
    """Shape of one number per output channel, to be broadcast over ``weight``; fewer than 2 dimensions are one channel."""
    return [weight.shape[0] if weight.ndim >= 2 else 1, *[1] * max(0, weight.ndim - 1)][: weight.ndim]


class Threshold:
    """Thresholds of one tensor.

    Args:
        weight: the tensor as it is when training starts.
    """

    #: Whether the largest weight of each output channel stays whatever the threshold is.
    guards = True

    def __init__(self, weight: torch.Tensor):
        weight = weight.detach()
        self.sigma = weight.std(unbiased=False)  # of equal entries it is 0: a ramp never prunes them

    def value(self) -> torch.Tensor:
        """In units of the tensor, to be broadcast over it."""
        raise NotImplementedError

    def level(self) -> torch.Tensor:
        """Mean in units of σ, a scalar."""
        raise NotImplementedError

    def learn(self, weight: torch.Tensor, grad: torch.Tensor) -> None:
        """Before a main step: take what the gradient says of the thresholds, and add to it what they say of the weights.

        Args:
            weight: dense values.
            grad: gradient of the masked tensor; changed in place.
        """

    def advance(self, lr: float) -> None:
        """After a main step of an optimizer whose learning rate is ``lr``."""
        raise NotImplementedError

    def restart(self, where: torch.Tensor) -> None:
        """Back to 0 where ``where``, a bool scalar, is true."""
        raise NotImplementedError

    def limit(self, size: torch.Tensor) -> None:
        """Keep thresholds just below the largest magnitude of each channel, where they are numbers of their own.

        Args:
            size: magnitudes of the dense values.
        """

    def state_dict(self) -> Dict[str, Any]:
        """Tensors and plain values."""
        return {"sigma": self.sigma.clone()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Inverse of ``state_dict``."""
        self.sigma = state["sigma"].to(self.sigma)


class Ramp(Threshold):
    """ln(1 + rate·n) standard deviations after n sparse steps since the last restart, whatever the data.

    It is what a penalty exp(-threshold) does when nothing else moves thresholds, integrated.
    """

    def __init__(self, weight: torch.Tensor, rate: float):
        super().__init__(weight)
        self.rate = rate
        self.steps = torch.zeros((), dtype=torch.int64, device=weight.device)

    def value(self) -> torch.Tensor:
        return self.level() * self.sigma

    def level(self) -> torch.Tensor:
        return torch.log1p(self.rate * self.steps.to(self.sigma.dtype))

    def advance(self, lr: float) -> None:
        self.steps += 1

    def restart(self, where: torch.Tensor) -> None:
        self.steps = torch.where(where, 0, self.steps)

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps.clone()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.steps = state["steps"].to(self.steps)


class StraightThrough(Threshold):
    """One number per output channel, moved by gradient descent on the loss, through an estimate, and on a penalty.

    Source: Dynamic Sparse Training, see ``estimator``, with thresholds in units of σ and plain SGD for them.
    """

    def __init__(self, weight: torch.Tensor, lr: float, strength: float):
        super().__init__(weight)
        self.lr, self.strength = lr, strength
        self.tau = torch.zeros(_columns(weight), dtype=weight.dtype, device=weight.device)
        self._slope: Optional[torch.Tensor] = None

    @property
    def _unit(self) -> torch.Tensor:
        return torch.where(self.sigma > 0, self.sigma, 1.0)

    def value(self) -> torch.Tensor:
        return self.tau * self.sigma

    def level(self) -> torch.Tensor:
        return self.tau.mean()

    def learn(self, weight: torch.Tensor, grad: torch.Tensor) -> None:
        size = weight.abs() / self._unit
        push = grad * estimator(size - self.tau)
        self._slope = -_over_channels(push * weight)
        grad.add_(push * size)

    def advance(self, lr: float) -> None:
        slope = 0.0 if self._slope is None else self._slope
        self.tau = (self.tau - self.lr * (slope - self.strength * torch.exp(-self.tau))).clamp_min(0)
        self._slope = None

    def restart(self, where: torch.Tensor) -> None:
        self.tau = torch.where(where, 0.0, self.tau)

    def limit(self, size: torch.Tensor) -> None:
        self.tau = torch.minimum(self.tau, _largest(size) / self._unit * (1 - 1e-6))

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "tau": self.tau.clone()}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.tau = state["tau"].to(self.tau)


class Penalty(Threshold):
    """What RG-GAN's public code does: no gradient of the loss reaches its thresholds, so that a penalty λ·exp(-threshold) in
    the tensor's own units moves them alone, through Adam with the network's learning rate and decays and ε = 1e-8."""

    guards = False

    def __init__(self, weight: torch.Tensor, strength: float, betas: Sequence[float]):
        super().__init__(weight)
        self.strength = strength
        self.raw = torch.zeros(_columns(weight), dtype=weight.dtype, device=weight.device)
        self._adam = torch.optim.Adam([self.raw], betas=(float(betas[0]), float(betas[1])), eps=1e-8)

    def value(self) -> torch.Tensor:
        return self.raw

    def level(self) -> torch.Tensor:
        return self.raw.mean() / torch.where(self.sigma > 0, self.sigma, 1.0)

    def advance(self, lr: float) -> None:
        self.raw.grad = -self.strength * torch.exp(-self.raw)
        self._adam.param_groups[0]["lr"] = lr
        self._adam.step()

    def restart(self, where: torch.Tensor) -> None:
        self.raw.masked_fill_(where, 0)

    def state_dict(self) -> Dict[str, Any]:
        moments = {name: value.clone() for name, value in self._adam.state[self.raw].items()} if self._adam.state else {}
        return {**super().state_dict(), "raw": self.raw.clone(), "moments": moments}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.raw.copy_(state["raw"])
        saved = {0: state["moments"]} if state["moments"] else {}
        self._adam.load_state_dict({"state": saved, "param_groups": self._adam.state_dict()["param_groups"]})


def _largest(size: torch.Tensor) -> torch.Tensor:
    return size.amax(dim=tuple(range(1, size.ndim)) if size.ndim >= 2 else tuple(range(size.ndim)), keepdim=True)


def _over_channels(values: torch.Tensor) -> torch.Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)) if values.ndim >= 2 else tuple(range(values.ndim)), keepdim=True)


def make(config: RGConfig, rate: float, weight: torch.Tensor, betas: Sequence[float]) -> Union[Ramp, StraightThrough, Penalty]:
    """The thresholds of a tensor.

    Args:
        config: settings.
        rate: of the ramp, see ``RGConfig.ramp_rate``.
        weight: the tensor as it is when training starts.
        betas: decays of the network's optimizer, where it has some.
    """
    if config.rule == "ste":
        return StraightThrough(weight, config.threshold_lr, config.strength)
    return Penalty(weight, config.strength, betas) if config.rule == "penalty" else Ramp(weight, rate)
