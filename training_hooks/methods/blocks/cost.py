"""What an iteration costs in seconds when its work and its messages are spread over processes in one way or another.

Counted, not measured: a link has one speed, whatever the size of a message, and gradients go after all is computed. Loading
images costs the same in all, and is left out. All functions take and give ``Fraction`` as well as ``float``.

Source of the two ways with a parameter server: H. Wu's PhD thesis (Warwick 2022), section 4.3, term by term as in its table,
from which its equation 4.3 follows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cost", "Work", "alone", "blocks", "blocks_by_server", "data_parallel_by_server", "ring_all_reduce"]


@dataclass(frozen=True)
class Work:
    """What an iteration has to do.

    Args:
        processes: of them all, an even number from 2; half of them are discriminators where there are blocks.
        images: real images of an iteration over all processes; as many fakes.
        image_bytes: of one image as it crosses.
        g_bytes, d_bytes: of the parameters of G and of D; their gradients are as large.
        g_seconds: G's forward and backward pass and step, of one image.
        d_seconds: D's passes and step for its own loss, of one real image and one fake.
        answer_seconds: D's forward and backward pass of one fake for G's loss.
        speed: bytes a second of a link.
        server_seconds: that a parameter server works with a byte of weights or gradients.
    """

    processes: int
    images: float
    image_bytes: float
    g_bytes: float
    d_bytes: float
    g_seconds: float
    d_seconds: float
    answer_seconds: float
    speed: float
    server_seconds: float = 0


@dataclass(frozen=True)
class Cost:
    """Seconds of an iteration, by what they go into: computing, weights and gradients under way, a server's own work, and fakes
    and answers under way. What happens behind something longer counts as nothing."""

    computing: float
    weights: float = 0
    gradients: float = 0
    server: float = 0
    images: float = 0

    @property
    def seconds(self) -> float:
        """Of the whole iteration."""
        return self.computing + self.weights + self.gradients + self.server + self.images


def alone(work: Work) -> Cost:
    """One process does it all."""
    return Cost(work.images * (work.g_seconds + work.d_seconds + work.answer_seconds))


def _spread(work: Work) -> float:
    return alone(work).computing / work.processes


def data_parallel_by_server(work: Work) -> Cost:
    """Every process trains both networks on its part; one server serves them one after another."""
    both = work.processes * (work.g_bytes + work.d_bytes)
    return Cost(_spread(work), both / work.speed, both / work.speed, work.server_seconds * both)


def blocks_by_server(work: Work) -> Cost:
    """Pairs of blocks, whose discriminators go by such a server; as the thesis counts it, with all messages one after another.

    Its weights and gradients are those of ``processes`` discriminators, though there are half as many.
    """
    d = work.processes * work.d_bytes
    crossing = 2 * work.images * work.image_bytes / work.speed
    return Cost(_paired(work), d / work.speed, d / work.speed, work.server_seconds * d, crossing)


def _paired(work: Work) -> float:
    """Computing of a pair: the generator waits for the answer, and works while D learns."""
    mine = 2 * work.images / work.processes
    return mine * (work.answer_seconds + max(work.d_seconds, work.g_seconds))


def ring_all_reduce(work: Work) -> Cost:
    """Every process trains both networks on its part, and the gradients go round in a ring."""
    return Cost(_spread(work), gradients=_ring(work.processes, work.g_bytes + work.d_bytes, work.speed))


def _ring(processes: float, size: float, speed: float) -> float:
    return 2 * (processes - 1) * size / (processes * speed)


def blocks(work: Work) -> Cost:
    """``GeneratorBlock`` and ``DiscriminatorBlock``: each pair has a link of its own, and the discriminators a ring.

    The discriminator waits for the fakes; the way of the answer and G's work lie beside its own work and the ring.

    Returns:
        its images and gradients are what that does not hide.
    """
    mine = 2 * work.images / work.processes
    d, g, way = mine * work.d_seconds, mine * work.g_seconds, mine * work.image_bytes / work.speed
    ring = _ring(work.processes / 2, work.d_bytes, work.speed)
    beside = max(d, way + g)
    return Cost(_paired(work), gradients=max(d + ring, way + g) - beside, images=way + beside - max(d, g))
