"""Magnitude masks: which weights of a tensor are pruned. Pure functions of tensors.

A mask is a ``torch.bool`` tensor of the weight's shape that is True where the weight is *kept*. Keeping rather than
pruning is stored because the hot path multiplies by it, see ``zero_pruned``.
"""

from __future__ import annotations

import math
import zlib
from typing import List, Sequence

import torch

__all__ = [
    "checksum", "count_bits", "keep_by_quantile", "keep_smallest_out", "mark_smallest", "max_pruned", "pack_bits",
    "prune_smallest", "pruned_count", "unpack_bits", "zero_pruned",
]  # fmt: skip

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of an entry → integers of that width
_SAMPLE = 4096  # entries looked at to bracket an order statistic; four times as many of a million and more
_BYTE = 0x0102040810204080  # times eight bytes of 0 or 1 has them as the bits of its highest byte


def pruned_count(numel: int, ratio: float) -> int:
    """Number of pruned entries of a tensor with ``numel`` entries: floor(ratio · numel)."""
    # The tiny factor undoes binary rounding: 0.29 * 100 is 28.999999999999996.
    return math.floor(ratio * numel * (1 + 1e-12))


def max_pruned(weight: torch.Tensor) -> int:
    """Largest number of entries that can be pruned while every output channel keeps one."""
    return weight.numel() - weight.shape[0] if weight.ndim >= 2 else weight.numel()


def _kth_smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """The k-th smallest entry (k from 1) of a flat tensor, as ``Tensor.kthvalue`` gives it, about three times faster.

    A sorted sample brackets the answer; only the entries inside the bracket are selected from. A bracket that misses
    falls back to the full selection, so the result never depends on the sample.
    """
    n = values.numel()
    if n < 64 * _SAMPLE:
        return values.kthvalue(k).values
    sample = values[:: n // (_SAMPLE if n < 1_000_000 else 4 * _SAMPLE)].sort().values
    m = sample.numel()
    centre, width = k / n * m, 4 * math.sqrt(m) / 2
    low, high = sample[max(0, int(centre - width))], sample[min(m - 1, int(centre + width) + 1)]
    below = values < low
    window, before = values[below ^ (values <= high)], int(torch.count_nonzero(below))
    if not before < k <= before + window.numel():
        return values.kthvalue(k).values
    return window.kthvalue(k - before).values


def mark_smallest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Flat bool tensor, True at exactly the k smallest entries, equal values in order of position."""
    threshold = _kth_smallest(values, k)
    marked = values <= threshold
    surplus = int(torch.count_nonzero(marked)) - k
    if surplus > 0:
        ties = (values == threshold).nonzero().flatten()
        marked[ties[ties.numel() - surplus :]] = False
    return marked


def _last_of_channel_maxima(magnitude: torch.Tensor) -> torch.Tensor:
    """Flat positions of the largest entry of each output channel (the last one among equals).

    ``magnitude`` has shape [out, entries]. Being last among equals, it is the entry a channel would lose last.
    """
    channels, entries = magnitude.shape
    last = entries - 1 - magnitude.flip(1).argmax(1)
    return last + torch.arange(channels, device=magnitude.device) * entries


def _every_channel_lives(pruned: torch.Tensor, weight: torch.Tensor) -> bool:
    # The least of bytes is found many times as fast as whether all of them are true.
    return weight.ndim < 2 or not bool(pruned.view(torch.uint8).view(weight.shape[0], -1).amin(1).any())


def keep_smallest_out(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask that prunes exactly floor(ratio · n) entries, the smallest by absolute value (Re-GAN section 3.2).

    Ties are broken by position, so equal weights give equal masks on every rank. No output channel (first dimension)
    of a tensor with two or more dimensions is pruned whole: its largest entry is kept, because the hosts' half
    precision layers divide by a channel's largest weight.

    Args:
        weight: floating point tensor of any shape: weights, or scores of weights.
        ratio: share to prune, in [0, 1).

    Returns:
        bool tensor of the same shape, True where kept.

    Raises:
        ValueError: ``ratio`` out of range, or so high that an output channel would have to go.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be in [0, 1), got {ratio}")
    k = pruned_count(weight.numel(), ratio)
    if k == 0:
        return torch.ones_like(weight, dtype=torch.bool)
    if k > max_pruned(weight):
        raise ValueError(
            f"ratio {ratio} prunes {k} of {weight.numel()} weights of a tensor of shape {list(weight.shape)}, "
            f"but at most {max_pruned(weight)} can go while each output channel keeps one"
        )
    magnitude = weight.detach().abs().flatten()
    pruned = mark_smallest(magnitude, k)
    if not _every_channel_lives(pruned, weight):
        protected = _last_of_channel_maxima(magnitude.view(weight.shape[0], -1))
        magnitude[protected] = math.inf
        pruned = mark_smallest(magnitude, k)
    return pruned.logical_not_().view(weight.shape)


def keep_by_quantile(weight: torch.Tensor, ratio: float) -> torch.Tensor:
    """Mask of the Re-GAN reference code: prune where abs(w) is strictly below the tensor's ``ratio`` quantile.

    The quantile interpolates linearly between two neighbours, its rank computed in the tensor's own precision, as
    ``torch.quantile`` does; unlike that function it has no size limit. Tensors of one value lose nothing. As with
    ``keep_smallest_out`` no output channel is pruned whole (the reference has no such guard).
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be in [0, 1), got {ratio}")
    magnitude = weight.detach().abs().flatten()
    n = magnitude.numel()
    rank = torch.tensor(ratio, dtype=magnitude.dtype, device=magnitude.device) * (n - 1)
    low = int(rank)
    below = _kth_smallest(magnitude, low + 1)
    above = _kth_smallest(magnitude, min(low + 2, n))
    pruned = magnitude < below.lerp(above, rank - low)
    if not _every_channel_lives(pruned, weight):
        pruned[_last_of_channel_maxima(magnitude.view(weight.shape[0], -1))] = False
    return pruned.logical_not_().view(weight.shape)


def prune_smallest(sizes: Sequence[torch.Tensor], keeps: Sequence[torch.Tensor], k: int) -> List[torch.Tensor]:
    """Masks that keep k entries less than ``keeps`` do: of those kept, the k with the smallest sizes of all tensors go.

    Equal sizes go in the order of tensors and of positions. Of every output channel (first dimension) of a tensor with two or
    more dimensions the largest of the entries kept stays, as with ``keep_smallest_out``.

    Args:
        sizes: finite floating point tensors of one dtype and device, at least 0, of any shapes.
        keeps: bool tensors of their shapes, True where kept so far.
        k: number of entries that go.

    Raises:
        ValueError: so many cannot go.
    """
    free = [_may_go(size, keep) for size, keep in zip(sizes, keeps)]
    values = torch.cat([size[may] for size, may in zip(sizes, free)]) if free else torch.zeros(0)
    if not 0 <= k <= values.numel():
        kept = sum(int(torch.count_nonzero(keep)) for keep in keeps)
        raise ValueError(
            f"{k} of the {kept} weights that are kept cannot go: at most {values.numel()} can, because each output channel "
            "keeps one"
        )
    if k == 0:
        return [keep.clone() for keep in keeps]
    stay = mark_smallest(values, k).logical_not_().split([int(torch.count_nonzero(may)) for may in free])
    return [keep.masked_scatter(may, still) for keep, may, still in zip(keeps, free, stay)]


def _may_go(size: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """The entries that are kept, but for the largest of each output channel."""
    if keep.ndim < 2 or keep.numel() == 0:
        return keep
    may = keep.clone(memory_format=torch.contiguous_format)
    may.view(-1)[_last_of_channel_maxima(size.masked_fill(~keep, -1).reshape(size.shape[0], -1))] = False
    return may


@torch.no_grad()
def zero_pruned(tensors: Sequence[torch.Tensor], keeps: Sequence[torch.Tensor]) -> None:
    """Set the pruned entries of ``tensors`` to zero in place, whatever they hold: infinities and NaN too.

    Args:
        tensors: floating point tensors of any shapes.
        keeps: their masks, on the same devices.
    """
    if tensors:
        # Of the bits as integers, because inf · 0 is NaN. Also several times faster than a loop of masked fills.
        torch._foreach_mul_([t.detach().view(_BITS[t.element_size()]) for t in tensors], list(keeps))


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """A bool tensor as a flat ``torch.uint8`` tensor on the CPU, eight entries a byte, lowest bit first."""
    eights = torch.nn.functional.pad(mask.detach().flatten(), (0, -mask.numel() % 8)).view(torch.int64)
    return ((eights * _BYTE) >> 56).to(torch.uint8).cpu()


def unpack_bits(packed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Inverse of ``pack_bits``: bool tensor of ``shape`` on the CPU.

    Raises:
        ValueError: the number of bytes does not fit the shape.
    """
    numel = math.prod(shape)
    if packed.numel() != (numel + 7) // 8:
        raise ValueError(f"{packed.numel()} packed bytes do not hold the {numel} entries of shape {list(shape)}")
    bits = torch.stack([(packed >> bit) & 1 for bit in range(8)], dim=1)
    return bits.flatten()[:numel].view(shape).bool()


def count_bits(packed: torch.Tensor) -> int:
    """Number of True entries of a packed mask."""
    return sum(int(torch.count_nonzero(packed & (1 << bit))) for bit in range(8))


def checksum(packed: Sequence[torch.Tensor]) -> int:
    """A number that differs, but for chance, where packed masks differ in any bit or in their order."""
    value = 0
    for mask in packed:
        value = zlib.crc32(mask.numpy().tobytes(), value)
    return value
