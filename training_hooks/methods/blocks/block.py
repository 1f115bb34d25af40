"""A generator and a discriminator that train in two processes: the blocks of BPGAN.

One iteration of a pair, and what crosses between its processes::

    GeneratorBlock                                  DiscriminatorBlock
    fakes = G(z)
    block.step(fakes) ······ fakes ···············► fakes = block.receive()
          ◄················· d loss_of_G / d fakes · block.answer(loss_of_G)
      G's backward and step                         block.step(loss_of_D): backward, mean over the discriminators, step
    the next fakes                                  (at the same time)

Both networks step from what both were before: the updates are simultaneous, where the usual loop alternates. Bit for bit it is
what one process computes in that order.

Source: H. Wu's PhD thesis (Warwick 2022), chapter 4. Its discriminators answer with scalars, from which no generator can learn:
here they answer with the gradient of G's loss for the images, which is as large as the images.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
import torch.distributed as dist

from ...core.random_state import random_states, set_random_states
from ...core.ranks import average_gradients, bare, gather, rank_and_size

__all__ = ["DiscriminatorBlock", "GeneratorBlock", "PeerLostError"]

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_MOST_DIMENSIONS = 8
_VERSION = 1


class PeerLostError(RuntimeError):
    """Another process of the run has ended, or has not answered in time."""


class _Block:
    """What both halves of a pair have: a network, its optimizer, and the way to the other half."""

    role = ""
    _OTHER: Mapping[str, str] = {"generator": "discriminator", "discriminator": "generator"}

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer, *, timeout: float = 30.0):
        if not 0 < timeout <= 86_400:
            raise ValueError(f"timeout={timeout} has to be more than 0 and at most 86400 seconds")
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError("blocks need several processes: start with torchrun, and call init_process_group before")
        self.network, self.optimizer, self.timeout = network, optimizer, timeout
        self.iteration, self.sent, self.received = 0, 0, 0
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))
        # Gloo sends from the CPU alone
        self._wire = torch.device("cpu") if dist.get_backend() == "gloo" else self._device
        self._format: Optional[Tuple[Tuple[int, ...], torch.dtype]] = None
        ranks = self._ranks()
        mine = ranks[self.role]
        self.pair, self.pairs = mine.index(rank_and_size()[0]), len(mine)
        self._peer = ranks[self._OTHER[self.role]][self.pair]
        patience = timedelta(seconds=timeout)
        self._link = dist.new_group(timeout=patience)  # every process takes part in making a group
        self._equals = dist.new_group(ranks["discriminator"], timeout=patience)
        self._first_discriminator = ranks["discriminator"][0]

    def _ranks(self) -> Dict[str, List[int]]:
        """Role → its ranks in their order; checked alike in every process, so that none waits for one that has refused."""
        shapes = [f"{name} {tuple(p.shape)}" for name, p in bare(self.network).named_parameters()]
        told = gather({"role": self.role, "shapes": shapes}, self._wire, rank_and_size()[1])
        ranks = {role: [rank for rank, each in enumerate(told) if each["role"] == role] for role in self._OTHER}
        d, g = len(ranks["discriminator"]), len(ranks["generator"])
        if d != g:
            raise ValueError(f"blocks go in pairs: {d} discriminators and {g} generators in {d + g} processes")
        first = told[ranks["discriminator"][0]]["shapes"]
        for rank in ranks["discriminator"]:
            if told[rank]["shapes"] != first:
                of = f"of rank {rank} has other parameters than that of rank {ranks['discriminator'][0]}"
                raise ValueError(f"the discriminators have to be alike: the one {of}")
        return ranks

    @contextlib.contextmanager
    def _waiting(self, whom: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as err:
            reason = str(err).strip().split("\n")[0]
            raise PeerLostError(
                f"iteration {self.iteration}: {whom} has ended, or has not answered within {self.timeout:g} seconds ({reason})"
            ) from err

    def _partner(self) -> str:
        return f"the {self._OTHER[self.role]} of this pair, rank {self._peer},"

    def _send(self, tensor: torch.Tensor) -> Any:
        """Begin to send; what returns has to be waited for."""
        wired = tensor.detach().to(self._wire).contiguous()
        self.sent += wired.numel() * wired.element_size()
        return dist.isend(wired, self._peer, group=self._link)

    def _receive(self, shape: Tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        wired = torch.empty(shape, dtype=dtype, device=self._wire)
        with self._waiting(self._partner()):
            dist.recv(wired, self._peer, group=self._link)
        self.received += wired.numel() * wired.element_size()
        return wired.to(self._device)

    def state_dict(self) -> Dict[str, Any]:
        """Network, optimizer, random numbers and iteration of this process, to be saved by ``torch.save``.

        Nothing is under way between two iterations: taken after as many of them in every process, the states make one whole.
        """
        return {
            **{"version": _VERSION, "role": self.role, "iteration": self.iteration, "random": random_states(self._device)},
            **{"network": bare(self.network).state_dict(), "optimizer": self.optimizer.state_dict()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state_dict`` returned, before the first iteration.

        Raises:
            ValueError: it is of another version or of the other kind of block.
        """
        if state.get("version") != _VERSION or state.get("role") != self.role:
            raise ValueError(f"this is no state of a {self.role} block of version {_VERSION}")
        bare(self.network).load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        set_random_states(state["random"], self._device)
        self.iteration = state["iteration"]


class GeneratorBlock(_Block):
    """A generator whose discriminator is another process.

    All processes make their block at the same place of the program, after ``init_process_group``. The first generator by rank
    is paired with the first discriminator, and so on. Generators of different pairs are different networks.

    Args:
        network: the generator.
        optimizer: of its parameters.
        timeout: seconds after which a process that does not answer counts as lost; more than 0, at most 86400. It has to be
            longer than an iteration, and than what is done between two of them, such as measuring.

    Attributes:
        pair, pairs: which pair this is, from 0, and how many there are.
        iteration: iterations that are done.
        sent, received: bytes of images and gradients so far.

    Raises:
        ValueError: without a process group, not as many generators as discriminators, or discriminators that differ.
    """

    role = "generator"

    def step(self, fakes: torch.Tensor) -> None:
        """Have the fakes judged, and take the optimizer's step. Gradients that are there already are added to.

        Args:
            fakes: what G made with gradients on; any float dtype, of one shape in all iterations.

        Raises:
            ValueError: no such tensor.
            PeerLostError: the discriminator has ended, or not answered in time.
        """
        self._check(fakes)
        sending = self._send(fakes)
        answer = self._receive(tuple(fakes.shape), fakes.dtype)
        with self._waiting(self._partner()):
            sending.wait()
        fakes.backward(answer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.iteration += 1

    def _check(self, fakes: torch.Tensor) -> None:
        if not fakes.requires_grad or fakes.dtype not in _DTYPES or fakes.ndim > _MOST_DIMENSIONS:
            what = f"{fakes.dtype} of {fakes.ndim} dimensions, gradients {'on' if fakes.requires_grad else 'off'}"
            raise ValueError(f"fakes have to be floats with gradients on, of {_MOST_DIMENSIONS} dimensions at most, not {what}")
        found = (tuple(fakes.shape), fakes.dtype)
        if self._format is None:
            self._announce(*found)
        elif found != self._format:
            raise ValueError(f"fakes have to be of one shape and dtype: {found} after {self._format}")

    def _announce(self, shape: Tuple[int, ...], dtype: torch.dtype) -> None:
        """Tell the discriminator what is to come."""
        head = [self.iteration, _DTYPES.index(dtype), len(shape), *shape, *[0] * (_MOST_DIMENSIONS - len(shape))]
        with self._waiting(self._partner()):
            dist.send(torch.tensor(head, device=self._wire), self._peer, group=self._link)
        self._format = (shape, dtype)


class DiscriminatorBlock(_Block):
    """A discriminator whose generator is another process.

    All discriminators begin with the weights of the first one, and step by the mean of their gradients: each wants a part of
    the data, such as ``DistributedSampler(data, block.pairs, block.pair)``.

    Args:
        network: the discriminator, not in ``DistributedDataParallel``.
        optimizer: of its parameters.
        timeout: as of ``GeneratorBlock``.

    Attributes, Raises: those of ``GeneratorBlock``.
    """

    role = "discriminator"

    def __init__(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer, *, timeout: float = 30.0):
        super().__init__(network, optimizer, timeout=timeout)
        self._fakes: Optional[torch.Tensor] = None
        self._sending: Any = None
        with self._waiting("another discriminator"):
            for tensor in bare(network).state_dict().values():
                dist.broadcast(tensor, self._first_discriminator, group=self._equals)

    def receive(self) -> torch.Tensor:
        """Fakes of the pair's generator: a leaf with gradients on, on D's device.

        Raises:
            PeerLostError: the generator has ended, or not sent any in time.
            ValueError: it goes on at another iteration than this block.
        """
        shape, dtype = self._format or self._announced()
        self._fakes = self._receive(shape, dtype).requires_grad_()
        return self._fakes

    def _announced(self) -> Tuple[Tuple[int, ...], torch.dtype]:
        head = torch.zeros(3 + _MOST_DIMENSIONS, dtype=torch.int64, device=self._wire)
        with self._waiting(self._partner()):
            dist.recv(head, self._peer, group=self._link)
        iteration, dtype, dimensions, *shape = head.tolist()
        if iteration != self.iteration:
            raise ValueError(f"the generator goes on at iteration {iteration}, this discriminator at {self.iteration}")
        self._format = (tuple(shape[:dimensions]), _DTYPES[dtype])
        return self._format

    def answer(self, loss: torch.Tensor, retain_graph: bool = False) -> None:
        """Send the gradient of G's loss for the fakes. D's parameters get none of it.

        Args:
            loss: G's loss, computed from D's verdict of what ``receive`` returned.
            retain_graph: whether that verdict is needed once more, for D's own loss; False by default.

        Raises:
            RuntimeError: no fakes have been received, or they have been answered.
        """
        if self._fakes is None or self._sending is not None:
            raise RuntimeError("answer comes after receive, once in an iteration")
        (gradient,) = torch.autograd.grad(loss, self._fakes, retain_graph=retain_graph)
        self._sending = self._send(gradient)

    def step(self, loss: torch.Tensor) -> None:
        """Step by the mean of the gradients of all discriminators. Gradients that are there already are added to.

        Args:
            loss: D's loss.

        Raises:
            RuntimeError: the fakes have not been answered.
            PeerLostError: another discriminator or the generator has ended, or not answered in time.
        """
        if self._sending is None:
            raise RuntimeError("step comes after answer: the generator waits for it")
        loss.backward()
        if self.pairs > 1:
            with self._waiting("another discriminator"):
                average_gradients(list(bare(self.network).parameters()), self.pairs, self._equals)
        self.optimizer.step()
        self.optimizer.zero_grad()
        with self._waiting(self._partner()):
            self._sending.wait()
        self._fakes, self._sending = None, None
        self.iteration += 1
