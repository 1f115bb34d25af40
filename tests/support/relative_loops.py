"""A loop of the shape of the hosts' relatives, in our own words: D trains first, the loop sets each step's learning rate, an
iteration takes two batches, and one file holds the last snapshot, from which the loop goes on by itself."""

from __future__ import annotations

import copy
import itertools
import pickle
import types
from pathlib import Path
from typing import Any, Dict, List, Mapping

import torch

from training_hooks.core.hook import Hook, Step, Training
from training_hooks.nvidia import seams

# What a host's loop finds in its module, and a loss in its own.
training_stats = types.SimpleNamespace(report0=lambda name, value: value)
dnnlib = types.SimpleNamespace(
    util=types.SimpleNamespace(construct_class_by_name=lambda class_name, **given: class_name(**given))
)
misc = types.SimpleNamespace(get_ckpt_path=lambda run_dir: f"{run_dir}/network-snapshot.pkl")
BATCH = 125  # eight iterations are a kimg
SEEN: List[Any] = []  # (event, …) in the order in which they came


class Rates(Hook):
    """Notes the rate that each step is made with."""

    order = 100

    def start(self, training: Training) -> None:
        self._optimizers = training.optimizers

    def before_step(self, step: Step) -> None:
        SEEN.append(("step", step.network, self._optimizers[step.network].param_groups[0]["lr"]))


class Loss:
    """Its phases are called "G" and "D", and it is given no labels of generated images."""

    def __init__(self, G: Any, D: Any):
        self.G, self.D = G, D

    def accumulate_gradients(self, phase: str, real_img: Any, real_c: Any, gen_z: Any, gamma: float, gain: float) -> None:
        SEEN.append(("round", phase))
        fake = self.G(gen_z)
        logits = self.D(fake if phase == "G" else fake.detach()) - self.D(real_img)
        sign = -1 if phase == "G" else 1
        (torch.nn.functional.softplus(sign * logits).mean() * gain + gamma * logits.square().mean()).backward()


def optimizer(params: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """As the host's: a rate that was given here is lost at the first step."""
    return torch.optim.Adam(params, betas=(0.0, 0.9), **kwargs)


def networks() -> Dict[str, torch.nn.Module]:
    """ "G" and "D", with a layer that writes RGB and normalisation that a forward pass changes."""
    torch.manual_seed(1)
    G = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU())
    G.add_module("torgb", torch.nn.Linear(16, 3))
    D = torch.nn.Sequential(torch.nn.utils.spectral_norm(torch.nn.Linear(3, 8)), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    return {"G": G, "D": D}


def training_loop(
    run_dir: str,
    loss_kwargs: Mapping[str, Any],
    progress_fn: Any,
    hooked: bool = True,
    total_kimg: int = 4,
    batch_size: int = BATCH,
    kimg_per_tick: float = 1,
    network_snapshot_ticks: int = 1,
    restart_every: int = 1,
    stop_after: float = float("inf"),
) -> Dict[str, torch.nn.Module]:
    """Train, and return "G", "D" and "G_ema". Ends with the tick that ``stop_after`` iterations end in."""
    G, D = networks().values()
    G_ema = copy.deepcopy(G)
    device = torch.device("cpu")  # noqa: F841
    torch.manual_seed(0)
    batches = itertools.islice(itertools.count(), progress_fn.get("resume_batches", 0), None)
    cur_nimg = batch_idx = cur_tick = 0
    last = Path(misc.get_ckpt_path(run_dir))
    if last.is_file():
        content = pickle.loads(last.read_bytes())
        for name, network in (("G", G), ("D", D), ("G_ema", G_ema)):
            network.load_state_dict(content[name].state_dict())
        cur_nimg, cur_tick, batch_idx = content["progress"]
        G(torch.zeros(2, 4)), D(torch.zeros(2, 3))  # the hosts print a table of a forward pass
    loss = dnnlib.util.construct_class_by_name(G=G, D=D, **loss_kwargs)
    phases = []
    for name, module in (("D", D), ("G", G)):
        made = optimizer(module.parameters())
        if hooked:
            given = dict(inner=f"{__name__}.optimizer", network=name, is_rate_set=True)
            made = seams.hooked_optimizer(module.parameters(), **given)
        phases.append(types.SimpleNamespace(name=name, module=module, opt=made))
    tick_start_nimg, snapshot_pkl, stats_metrics, stats_dict = cur_nimg, None, {}, {}  # noqa: F841
    progress_fn(0, total_kimg)
    while True:
        lr = 0.01 * (1 - cur_nimg / 10_000)
        for phase in phases:
            images = torch.randn(batch_size, 3, generator=torch.Generator().manual_seed(next(batches)))
            phase.opt.zero_grad(set_to_none=True)
            loss.accumulate_gradients(
                phase=phase.name, real_img=images, real_c=None, gen_z=torch.randn(batch_size, 4), gamma=0.1, gain=1.0
            )
            for group in phase.opt.param_groups:
                group["lr"] = lr
            phase.opt.step()
            SEEN.append(("rate", phase.name, phase.opt.param_groups[0]["lr"] / lr))
        half_life = cur_nimg / 10  # 0 at first: the average is G itself
        with torch.no_grad():
            for averaged, param in zip(G_ema.parameters(), G.parameters()):
                averaged.copy_(param.lerp(averaged, 0.5 ** (batch_size / max(half_life, 1e-8))))
            for averaged, buffer in zip(G_ema.buffers(), G.buffers()):
                averaged.copy_(buffer)
        cur_nimg, batch_idx = cur_nimg + batch_size, batch_idx + 1
        done = cur_nimg >= total_kimg * 1000
        if not done and cur_tick != 0 and cur_nimg < tick_start_nimg + kimg_per_tick * 1000:
            continue
        done = done or batch_idx >= stop_after
        content = {"G": G, "D": D, "G_ema": G_ema, "progress": (cur_nimg, cur_tick, batch_idx)}
        last.write_bytes(pickle.dumps(content))
        snapshot_pkl = f"{run_dir}/best_model.pkl"  # noqa: F841  as with metrics
        progress_fn(cur_nimg // 1000, total_kimg)
        cur_tick, tick_start_nimg = cur_tick + 1, cur_nimg
        if done:
            return {"G": G, "D": D, "G_ema": G_ema}
