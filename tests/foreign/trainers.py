"""Other people's trainers as their packages have them, each with the same few handles.

Nothing of a package is edited. What has to be mended for them on today's PyTorch, without a GPU, is at the top.
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from pathlib import Path
from typing import Any, ClassVar, Dict, Iterator, List, Mapping

import torch

__all__ = ["TRAINERS", "Trainer"]

SIDE, BATCH = 32, 8


# ---------------------------------------------------------------- what has to be mended


def import_on_cpu(name: str, absent: "tuple[str, ...]" = ()) -> Any:
    """A module that names CUDA throughout and refuses to be imported without it.

    Args:
        name: of the module.
        absent: modules that it imports and does not need here (experiment trackers, image metrics).
    """
    from regan_ext.hosts.device import use_cpu

    import_torchvision()
    for each in absent:
        parts = each.split(".")
        for end in range(1, len(parts) + 1):
            stand_in = types.ModuleType(".".join(parts[:end]))
            stand_in.__getattr__ = lambda attribute: None  # type: ignore[method-assign]
            stand_in.__path__ = []
            sys.modules.setdefault(stand_in.__name__, stand_in)
    available, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    try:
        module = importlib.import_module(name)
    finally:
        torch.cuda.is_available = available
    use_cpu([module], 1)
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
    return module


def import_torchvision() -> None:
    """Its build for CUDA beside a PyTorch without: its operators are missing, and are not used here."""
    register = torch.library.register_fake

    def unless_torchvision(name: Any, *args: Any, **kwargs: Any) -> Any:
        return (lambda function: function) if str(name).startswith("torchvision::") else register(name, *args, **kwargs)

    torch.library.register_fake = unless_torchvision  # type: ignore[assignment]
    try:
        importlib.import_module("torchvision")
    finally:
        torch.library.register_fake = register


def mend_output_padding() -> None:
    """Transposed convolutions of PyTorch's have to be told their number of dimensions since 1.12."""
    kind = torch.nn.modules.conv._ConvTransposeNd
    plain = kind._output_padding

    def of_two(self: Any, *args: Any, num_spatial_dims: int = 2, **kwargs: Any) -> Any:
        return plain(self, *args, num_spatial_dims, **kwargs) if len(args) == 5 else plain(self, *args, **kwargs)

    if plain.__name__ != "of_two":
        kind._output_padding = of_two  # type: ignore[method-assign, assignment]


# ---------------------------------------------------------------- data


def digits(side: int = SIDE) -> torch.Tensor:
    """All 1797 handwritten digits that scikit-learn has, [n, 3, side, side] in [-1, 1]."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1
    return torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear").expand(-1, 3, -1, -1).contiguous()


class Batches:
    """Batch ``position`` is the same whoever asks for it, so that training can be compared and go on."""

    batch_size = BATCH

    def __init__(self, images: torch.Tensor):
        self.images, self.position, self.last = images, 0, sys.maxsize

    def __len__(self) -> int:
        return len(self.images) // BATCH

    def __iter__(self) -> Iterator[torch.Tensor]:
        return self

    def __next__(self) -> torch.Tensor:
        if self.position >= self.last:
            raise KeyboardInterrupt  # how a user stops a trainer that has no other way
        chosen = torch.randint(len(self.images), (BATCH,), generator=torch.Generator().manual_seed(self.position))
        self.position += 1
        return self.images[chosen]


# ---------------------------------------------------------------- trainers


class Trainer:
    """One trainer.

    Args:
        folder: that it may write to.
    """

    package = ""
    exclude: "tuple[str, ...]" = ()
    scheduled: "tuple[str, ...]" = ()
    networks: Dict[str, Any]
    optimizers: Dict[str, torch.optim.Optimizer]

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def train(self, steps: int) -> None:
        """Make that many steps of G more."""
        raise NotImplementedError

    def save(self) -> Path:
        """Have the trainer write its own checkpoint."""
        raise NotImplementedError

    def saved(self, checkpoint: Path) -> Mapping[str, torch.Tensor]:
        """G's tensors in a checkpoint by their names in ``networks``, and those of the average with "ema." before."""
        raise NotImplementedError

    def go_on(self, steps: int) -> None:
        """Stand where ``steps`` steps of G have been made; networks and optimizers are restored otherwise."""
        raise NotImplementedError


class Mimicry(Trainer):
    """SNGAN at 32x32: hinge loss, five steps of D for one of G, rates that fall linearly. It takes the optimizers."""

    package = "torch-mimicry"
    exclude = ("c5.*",)
    scheduled = ("G", "D")
    total = 400

    def __init__(self, folder: Path):
        super().__init__(folder)
        import_torchvision()
        importlib.import_module("torch.utils.tensorboard")  # before a stand-in that it would take for TensorFlow
        unused = ("skimage.io", "tensorflow.compat.v1", "torch._six")
        nets = import_on_cpu("torch_mimicry.nets.sngan.sngan_32", unused)
        G, D = nets.SNGANGenerator32(ngf=32), nets.SNGANDiscriminator32(ndf=16)
        self.networks = {"G": G, "D": D}
        self.optimizers = {name: torch.optim.Adam(net.parameters(), 2e-4, (0.0, 0.9)) for name, net in self.networks.items()}
        self.data, self.steps = Batches(digits()), 0

    def train(self, steps: int) -> None:
        """The trainer restores its newest checkpoint by itself, and writes one when it is interrupted."""
        training = importlib.import_module("torch_mimicry.training")
        self.steps += steps
        self.data.last = 5 * self.steps
        (self.folder / "params.json").unlink(missing_ok=True)  # it compares rates that have fallen with the first ones
        labelled = _Labelled(self.data)
        training.Trainer(
            netD=self.networks["D"], netG=self.networks["G"], optD=self.optimizers["D"], optG=self.optimizers["G"],
            dataloader=labelled, num_steps=self.total, n_dis=5, lr_decay="linear", log_dir=str(self.folder),
            device=torch.device("cpu"), print_steps=self.total, log_steps=self.total, vis_steps=self.total,
        ).train()  # fmt: skip

    def save(self) -> Path:
        return self.folder / "checkpoints" / "netG" / f"netG_{self.steps}_steps.pth"

    def saved(self, checkpoint: Path) -> Mapping[str, torch.Tensor]:
        found: Mapping[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["model_state_dict"]
        return found

    def go_on(self, steps: int) -> None:
        self.steps, self.data.position = steps, 5 * steps
        for name, network in self.networks.items():  # where the trainer looks for how far it is
            where = str(self.folder / "checkpoints" / f"net{name}")
            network.save_checkpoint(directory=where, global_step=steps, optimizer=self.optimizers[name])


class _Labelled:
    """Batches with labels, as the trainer reads them."""

    batch_size = BATCH

    def __init__(self, data: Batches):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[List[torch.Tensor]]:
        for images in self.data:
            yield [images, torch.zeros(BATCH, dtype=torch.long)]


class _Lucidrains(Trainer):
    """Both of this author's trainers: one call a step, CUDA by name, an average that follows late."""

    module = ""
    absent: "tuple[str, ...]" = ()
    options: ClassVar[Dict[str, Any]] = {}

    def __init__(self, folder: Path):
        super().__init__(folder)
        code = import_on_cpu(f"{self.module}.{self.module}", self.absent)
        self._narrow(code)
        self.trainer = code.Trainer(
            name="digits", base_dir=folder, results_dir="results", models_dir="models", batch_size=BATCH, image_size=SIDE,
            gradient_accumulate_every=2, save_every=10**6, evaluate_every=10**6, num_image_tiles=3, aug_prob=0.3, num_workers=0,
            **self.options,
        )  # fmt: skip
        (folder / "results" / "digits").mkdir(parents=True, exist_ok=True)
        self.trainer.init_GAN()
        self.data = Batches(digits() / 2 + 0.5)
        self.trainer.loader, self.trainer.dataset = self.data, self.data
        self.networks, self.optimizers = self._parts(self.trainer.GAN)

    def _narrow(self, code: Any) -> None:
        """Make smaller what no option does."""

    def _parts(self, gan: Any) -> Any:
        optimizers = {"G": gan.G_opt, "D": gan.D_opt}
        return {"G": gan.G, "D": gan.D, "G_ema": gan.GE}, optimizers

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.trainer.train()

    def save(self) -> Path:
        self.trainer.save(self.trainer.steps)
        return Path(self.trainer.model_name(self.trainer.steps))

    def saved(self, checkpoint: Path) -> Mapping[str, torch.Tensor]:
        whole = torch.load(checkpoint, weights_only=True)["GAN"]
        return dict(self._named(whole))

    def _named(self, whole: Mapping[str, torch.Tensor]) -> Iterator["tuple[str, torch.Tensor]"]:
        for name, tensor in whole.items():
            part, _, rest = name.partition(".")
            if part in ("G", "GE"):
                yield ("ema." if part == "GE" else "") + rest, tensor

    def go_on(self, steps: int) -> None:
        self.trainer.steps, self.data.position = steps, 2 * steps


class Lightweight(_Lucidrains):
    """Lightweight GAN (FastGAN's successor), AMP scalers in the loop, batch norm, gates; D's attention with 2 heads of 4."""

    package = "lightweight-gan"
    module = "lightweight_gan"
    exclude = ("out_conv.*",)
    options: ClassVar[Dict[str, Any]] = {"fmap_max": 32, "latent_dim": 32, "use_aim": False}

    def _narrow(self, code: Any) -> None:
        # Attention in D at every pixel takes nine tenths of the time with 8 heads of 64.
        code.LinearAttention.__init__.__defaults__ = (4, 2, 3)


class StyleGAN2(_Lucidrains):
    """StyleGAN2, whose mapping network and generator are two modules that one optimizer trains."""

    package = "stylegan2-pytorch"
    module = "stylegan2_pytorch"
    absent = ("aim",)
    options: ClassVar[Dict[str, Any]] = {"network_capacity": 4, "fmap_max": 64}

    def _parts(self, gan: Any) -> Any:
        networks = {"G": torch.nn.ModuleDict({"S": gan.S, "G": gan.G}), "D": gan.D}
        networks["G_ema"] = torch.nn.ModuleDict({"S": gan.SE, "G": gan.GE})
        return networks, {"G": gan.G_opt, "D": gan.D_opt}

    def _named(self, whole: Mapping[str, torch.Tensor]) -> Iterator["tuple[str, torch.Tensor]"]:
        for name, tensor in whole.items():
            part, _, rest = name.partition(".")
            if part in ("S", "G"):
                yield name, tensor
            elif part in ("SE", "GE"):
                yield f"ema.{part[0]}.{rest}", tensor


class ProGAN(Trainer):
    """ProGAN at its last resolution, 16x16, 64 channels, by the two calls that its class offers for routines of your own."""

    package = "pro-gan-pth"
    exclude = ("rgb_converters.*",)
    depth = 4

    def __init__(self, folder: Path):
        super().__init__(folder)
        import_torchvision()
        mend_output_padding()
        gan = importlib.import_module("pro_gan_pytorch.gan")
        net = importlib.import_module("pro_gan_pytorch.networks")
        self.losses = importlib.import_module("pro_gan_pytorch.losses")
        net.nf = functools.partial(getattr(net.nf, "func", net.nf), fmap_max=64)  # 512 channels otherwise, seconds a step
        G = net.Generator(depth=self.depth, num_channels=3, latent_size=32)
        D = net.Discriminator(depth=self.depth, num_channels=3, latent_size=32)
        self.gan = gan.ProGAN(G, D)
        self.networks = {"G": self.gan.gen, "D": self.gan.dis, "G_ema": self.gan.gen_shadow}
        self.optimizers = {
            name: torch.optim.Adam(self.networks[name].parameters(), 0.003, betas=(0.0, 0.99)) for name in ("G", "D")
        }
        self.data, self.steps = Batches(digits(2**self.depth)), 0

    def train(self, steps: int) -> None:
        update_average = importlib.import_module("pro_gan_pytorch.custom_layers").update_average
        loss = self.losses.WganGP()
        for _ in range(steps):
            images, noise = next(self.data), torch.randn(BATCH, self.gan.latent_size)
            self.gan.optimize_discriminator(loss, self.optimizers["D"], noise, images, self.depth, 1.0)
            update_average(self.gan.gen_shadow, self.gan.gen, beta=0.99)
            self.gan.optimize_generator(loss, self.optimizers["G"], noise, images, self.depth, 1.0)
        self.steps += steps

    def save(self) -> Path:
        path = self.folder / f"{self.steps}.bin"
        torch.save(self.gan.get_save_info(self.optimizers["G"], self.optimizers["D"]), path)
        return path

    def saved(self, checkpoint: Path) -> Mapping[str, torch.Tensor]:
        whole = torch.load(checkpoint, weights_only=True)
        average = whole["shadow_generator"]["state_dict"]
        return {**whole["generator"]["state_dict"], **{f"ema.{name}": tensor for name, tensor in average.items()}}

    def go_on(self, steps: int) -> None:
        self.steps = self.data.position = steps


TRAINERS = {"pro-gan-pth": ProGAN, "lightweight-gan": Lightweight, "torch-mimicry": Mimicry, "stylegan2-pytorch": StyleGAN2}
