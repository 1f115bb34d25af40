"""A hook that records what it sees inside the real training loop, and checks the masks elementwise."""

import json
import os
import signal
import zlib

import torch

from training_hooks.core.hook import Hook
from training_hooks.methods.regan.hook import Reconfiguration
from training_hooks.nvidia.current import engine


class Recorder(Hook):
    """Comes after Reconfiguration, so it sees what that did. One JSON object a line in ``records-RANK.jsonl``."""

    def start(self, training):
        self.training = training
        self.path = f"{training.run_dir}/records-{training.rank}.jsonl"
        found = [hook for hook in engine().hooks if isinstance(hook, Reconfiguration)]
        self.method = found[0] if found else None
        self.last_sparse = None  # images of the sparse network after its last step
        self.record("start", total=training.total_iterations, ranks=training.num_ranks)

    def record(self, event, **values):
        with open(self.path, "a") as file:
            file.write(json.dumps({"event": event, "rank": self.training.rank, **values}) + "\n")

    def networks(self):
        return self.method._networks if self.method is not None else {}

    def leaks(self, tensors, keeps):
        """Number of entries that are not zero although their mask prunes them."""
        return sum(int((t[~k] != 0).sum()) for t, k in zip(tensors, keeps) if t is not None)

    def images(self):
        """Of fixed latents and noise, with what the loss calls at the moment."""
        w_dim, num_ws = self.training.networks["G"].w_dim, self.training.networks["G"].num_ws
        ws = torch.linspace(-1, 1, 2 * num_ws * w_dim, device=next(self.training.networks["G"].parameters()).device)
        with torch.no_grad():
            return self.training.loss.G_synthesis(ws.view(2, num_ws, w_dim), noise_mode="const")

    def on_iteration(self, iteration):
        values = {"iteration": iteration}
        if self.last_sparse is not None and not self.networks()["G"].sparse:
            values["grown"] = float((self.images() - self.last_sparse).abs().max())
        self.last_sparse = None
        for kind, network in self.networks().items():
            masked = bool(network.keep)
            values[kind] = {
                "sparse": network.sparse,
                "pruned": sum(int((~k).sum()) for k in network.keep),
                "leaks": self.leaks([p.detach() for p in network.params], network.keep) if masked else None,
                "ema_leaks": self.leaks([p.detach() for p in network.ema], network.keep) if masked and network.ema else None,
                "ema_zeros": [int((p == 0).sum()) for p in network.ema],
                "masks": zlib.crc32(b"".join(k.numpy().tobytes() for k in network.keep)),
                "lr": self.method._optimizers[kind].param_groups[0]["lr"],
            }
        self.record("on_iteration", **values)

    def step(self, event, step):
        values = {"network": step.network, "phase": step.phase, "iteration": step.iteration}
        network = self.networks().get(step.network)
        if network is not None and network.sparse:
            values["leaks"] = self.leaks([p.detach() for p in network.params], network.keep)
            values["gradient_leaks"] = self.leaks([p.grad for p in network.params], network.keep)
            values["gradients"] = sum(p.grad is not None and bool(p.grad.any()) for p in network.params)
        self.record(event, **values)

    def before_step(self, step):
        self.step("before_step", step)

    def after_step(self, step):
        self.step("after_step", step)
        network = self.networks().get(step.network)
        is_last = self.method is not None and self.method.schedule.span(step.iteration + 1).phase != 1
        if step.network == "G" and network is not None and network.sparse and is_last:
            self.last_sparse = self.images()

    def on_report(self):
        self.record("on_report")
        return {"Probe/one": 1.0}

    def on_metrics(self, values, kimg):
        self.record("on_metrics", values=dict(values), kimg=kimg)

    def on_tick(self):
        self.record("on_tick")


class Freezer(Hook):
    """Proof that hooks can do harm, so that the tests of doing none mean something: changes one weight once."""

    def on_iteration(self, iteration):
        if iteration == 5:
            weight = next(engine().training.networks["G"].parameters())
            with torch.no_grad():
                weight.view(-1)[0] += 1


class Poison(Hook):
    """One weight of G becomes NaN when iteration ``at`` begins."""

    observes = True  # so that a run without it goes on from one with it

    def __init__(self, at):
        self.at = at

    def on_iteration(self, iteration):
        if iteration == self.at:
            with torch.no_grad():
                next(engine().training.networks["G"].parameters()).view(-1)[0] = float("nan")


class Keeper(Hook):
    """Changes the run, and keeps under "config" what it likes."""

    def __init__(self, rate):
        self.rate = rate


class Terminator(Hook):
    """Sends SIGTERM to its own process in iteration ``at``, before anything of it is computed."""

    def __init__(self, at: int):
        self._at = at

    def on_iteration(self, iteration: int) -> None:
        if iteration == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
