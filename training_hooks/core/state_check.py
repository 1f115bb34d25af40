"""Whether the fields of a state are there, of their types and within reason: a checksum says nothing of that."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import torch

from .random_state import kept_random_states, set_random_states

__all__ = ["averages", "averages_of", "check_fields", "check_fit", "difference"]

_CPU = torch.device("cpu")
_ADAM = {"step", "exp_avg", "exp_avg_sq"}
_FLAGS = ("amsgrad", "maximize", "foreach", "capturable", "differentiable", "fused")
_MOST = 2**53
_AVERAGES = {"G": "averages", "D": "averages_of_D"}  # network → key in a state; states of 0.1.0 have none of D
# How buffers are called that a forward pass changes: StyleGAN's averages, and those of batch and spectral normalisation.
_MOVING = ("_avg", "_ema", "running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")


def averages(network: torch.nn.Module) -> Dict[str, torch.Tensor]:
    """The moving averages among a network's buffers, those of normalisation layers too. Hosts disturb them when they print
    their summary table, or have others in each process."""
    return {name: b for name, b in network.named_buffers() if name.rpartition(".")[2].endswith(_MOVING)}


def difference(saved: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """How the settings of a state differ from a run's, of which it has at least all; "" where they do not."""
    other = [name for name in mine if mine[name] != saved[name]]
    had, has = (", ".join(f"{name}={values[name]}" for name in other) for values in (saved, mine))
    return f"the state has {had}, this run {has}" if other else ""


def check_fields(state: Mapping[str, Any]) -> None:
    """Check all that a loop will look for.

    Raises:
        ValueError: a field is missing or absurd; the message names it.
    """
    try:
        absurd = next((field for field, fine in _fields(state) if not fine), None)
    except Exception as err:  # values of another type fail in many ways
        raise ValueError(f"a field is missing or of another type ({type(err).__name__}: {err})") from err
    if absurd is not None:
        raise ValueError(f"its {absurd} is missing or absurd")


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < _MOST


def _is_number(value: Any, least: float = -math.inf) -> bool:
    return type(value) in (int, float) and least <= value < _MOST


def _is_finite(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and bool(tensor.isfinite().all())


def _fields(state: Mapping[str, Any]) -> Iterator[Tuple[str, bool]]:
    """Name of each field and whether it is fine."""
    yield "cur_nimg", _is_count(state.get("cur_nimg"), 1)
    first = state.get("first_image", 0)  # states of 0.1.0 have none
    yield "first_image", _is_count(first, 0)
    yield "batch_idx", _is_count(state.get("batch_idx"), 1)
    yield "cur_tick", _is_count(state.get("cur_tick"), 0)
    p, pending, options = state["augment_p"], state["ada_pending"], state["options"]
    yield "augment_p", p is None or _is_number(p, 0)
    yield "ada_pending", pending is None or (_is_finite(pending) and pending.shape == (3,))
    yield "hooks", isinstance(state["hooks"], dict) and all(isinstance(hook, dict) for hook in state["hooks"].values())
    yield "snapshot", all(_is_count(state["snapshot"][name], 0) for name in ("bytes", "crc32"))
    yield "options", options is None or (isinstance(options, dict) and isinstance(options.get("training_set_kwargs"), dict))
    if options is not None:
        each = options.get("batch_size", state["cur_nimg"] // state["batch_idx"])
        yield "cur_nimg", first + state["batch_idx"] * each == state["cur_nimg"]
    yield "optimizers", isinstance(state["optimizers"], dict) and {"G", "D"} <= set(state["optimizers"])
    for name, optimizer in state["optimizers"].items():
        yield f"optimizer of {name}", all(_of_optimizer(optimizer))
    yield "ranks", isinstance(state["ranks"], list) and len(state["ranks"]) > 0
    for rank in state["ranks"]:
        mean = rank["pl_mean"]
        yield "pl_mean", mean is None or (_is_finite(mean) and mean.numel() == 1)
        for kind in _AVERAGES.values():
            yield kind, all(isinstance(t, torch.Tensor) for t in rank.get(kind, {}).values())
        yield "averages", "averages" in rank
        yield "random", _is_random(rank["random"])


def _of_optimizer(saved: Mapping[str, Any]) -> Iterator[bool]:
    groups: List[Mapping[str, Any]] = saved["param_groups"]
    yield isinstance(groups, list) and len(groups) > 0 and isinstance(saved["state"], dict)
    is_adam = any("exp_avg" in entry or "exp_avg_sq" in entry for entry in saved["state"].values())
    needed = _ADAM | ({"max_exp_avg_sq"} if groups[0].get("amsgrad") else set()) if is_adam else set()
    for group in groups:
        yield _is_number(group["lr"], 0) and all(type(index) is int for index in group["params"])
        if is_adam:
            yield len(group["betas"]) == 2 and all(_is_number(float(beta), 0) and beta < 1 for beta in group["betas"])
            yield _is_number(group["eps"], 0) and _is_number(group["weight_decay"], 0)
            yield all(group.get(name) is None or type(group[name]) is bool for name in _FLAGS)
            # Of these no step can be taken: a leaf is not changed in place, and counts of steps stay on a GPU.
            yield not group.get("differentiable") and (not group.get("capturable") or torch.cuda.is_available())
    known = {index for group in groups for index in group["params"]}
    for index, entry in saved["state"].items():
        yield index in known and set(entry) >= needed
        yield "step" not in entry or _is_number(float(entry["step"]), 0)
        yield all(_is_finite(value) for name, value in entry.items() if name != "step")


def _is_random(states: Mapping[str, Any]) -> bool:
    """Whether they can be set: tried, and put back."""
    with kept_random_states(_CPU):
        try:
            set_random_states(states, _CPU)
        except (ValueError, RuntimeError, OverflowError):
            return False
    cuda = states.get("cuda")
    return cuda is None or (isinstance(cuda, torch.Tensor) and cuda.dtype == torch.uint8)


def check_fit(state: Mapping[str, Any], networks: Mapping[str, torch.nn.Module], num_ranks: int) -> None:
    """Check a state whose fields are fine against the networks of a run.

    Args:
        state: what ``check_fields`` let pass.
        networks: "G" and "D".
        num_ranks: processes of the run.

    Raises:
        ValueError: it is of other networks, or of another number of processes.
    """
    if len(state["ranks"]) != num_ranks:
        raise ValueError(f"it is of {len(state['ranks'])} processes, this run has {num_ranks}")
    for kind, saved in state["optimizers"].items():
        if kind not in networks:
            raise ValueError(f"its optimizer is of {kind}")
        shapes = [param.shape for param in networks[kind].parameters()]
        indices = sorted(index for group in saved["param_groups"] for index in group["params"])
        fits = indices == list(range(len(shapes))) and all(
            value.shape == shapes[index]
            for index, entry in saved["state"].items()
            for name, value in entry.items()
            if isinstance(value, torch.Tensor) and name != "step"
        )
        if not fits:
            raise ValueError(f"its optimizer of {kind} is of a network of another shape")
    for kind, key in _AVERAGES.items():
        wanted = {name: b.shape for name, b in averages(networks[kind]).items()} if kind in networks else {}
        for rank in state["ranks"]:
            found: Dict[str, Any] = {name: tensor.shape for name, tensor in rank.get(key, {}).items()}
            if found != wanted:
                raise ValueError("its averages are of a network of another shape")


def averages_of(networks: Mapping[str, torch.nn.Module]) -> Dict[str, Dict[str, torch.Tensor]]:
    """The averages of "G" and "D" by the keys that a state has them under."""
    return {key: averages(networks[kind]) for kind, key in _AVERAGES.items()}
