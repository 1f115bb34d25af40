"""FreezeD: which layers of D it names, and that these alone stay."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from support.networks import differing, host_module, load_networks, write_networks
from support.runs import Run
from torch import nn

from regan_ext.cli import main
from regan_ext.train.resume_networks import shapes_of
from training_hooks.core.loop import Loop
from training_hooks.methods.freezed.config import FreezeDConfig
from training_hooks.methods.freezed.hook import FreezeD
from training_hooks.methods.freezed.layers import arguments, frozen, share
from training_hooks.sparsity.selection import SelectionError


@pytest.fixture(scope="module")
def networks(host_dir: Path) -> Any:
    """The host's own module of networks."""
    return host_module(host_dir, "training.networks")


def discriminator(networks: Any, resolution: int, **given: Any) -> Any:
    size = {"channel_base": 4 * resolution, "channel_max": 4, **given}
    return networks.Discriminator(**{"c_dim": 0, "img_resolution": resolution, "img_channels": 3, **size})


def layers(config: FreezeDConfig, D: Any) -> int:
    return int(arguments(config, {"D": shapes_of(D)})["frozen_layers"])


# ---------------------------------------------------------------- which layers


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("resolution, c_dim", [(8, 0), (32, 3), (64, 0)])
def test_the_host_freezes_what_is_named(networks: Any, architecture: str, resolution: int, c_dim: int) -> None:
    plain = discriminator(networks, resolution, architecture=architecture, c_dim=c_dim)
    blocks = int(math.log2(resolution)) - 2
    for number in range(1, blocks + 1):
        config = FreezeDConfig((f"{number}blocks",))
        same = FreezeDConfig((str(resolution >> (number - 1)),))
        count = layers(config, plain)
        told = discriminator(
            networks, resolution, architecture=architecture, c_dim=c_dim, block_kwargs={"freeze_layers": count}
        )
        by_host = {name for name, _ in told.named_buffers() if name.endswith(("weight", "bias"))}
        names = frozen(config, list(shapes_of(plain)))
        assert set(names) == by_host == set(frozen(same, list(shapes_of(told)))) and layers(same, told) == count


@pytest.mark.parametrize("resolution, count", [(256, 13), (512, 16), (1024, 19)])
def test_32_is_the_papers_four_blocks_at_256_and_the_same_layers_above(networks: Any, resolution: int, count: int) -> None:
    D = discriminator(networks, resolution)
    assert layers(FreezeDConfig(("32",)), D) == count
    assert resolution > 256 or layers(FreezeDConfig(("4blocks",)), D) == count


def test_the_shares_are_those_of_the_card(networks: Any) -> None:
    D = networks.Discriminator(c_dim=0, img_resolution=256, img_channels=3, channel_base=16384)
    shapes = shapes_of(D)
    assert [layers(FreezeDConfig((f"{n}blocks",)), D) for n in range(1, 7)] == [4, 7, 10, 13, 16, 19]
    shares = [share(frozen(FreezeDConfig((f"{n}blocks",)), list(shapes)), shapes) for n in range(1, 7)]
    assert [round(100 * each, 1) for each in shares] == [0.5, 2.5, 10.4, 31.2, 51.9, 72.7]
    assert sum(map(math.prod, shapes.values())) == 24_001_089


def test_what_d_has_not_is_an_error_that_says_what_there_is(networks: Any) -> None:
    names = list(shapes_of(discriminator(networks, 32)))
    for word, said in (("64", "no block of resolution 64"), ("4blocks", "fewer blocks than 4")):
        with pytest.raises(ValueError, match=f"^layers: D has {said}; those that can be frozen are 32, 16, 8$"):
            frozen(FreezeDConfig((word,)), names)
    with pytest.raises(SelectionError, match=r"layers pattern 'b64\.\*' matches no parameter"):
        frozen(FreezeDConfig(("b32.*", "b64.*")), names)
    with pytest.raises(ValueError, match=r"name patterns freeze layers of any"):
        frozen(FreezeDConfig(("32",)), ["main.0.weight"])
    assert frozen(FreezeDConfig(("b32.skip.*", "b8.conv?.bias")), names) == [
        "b32.skip.weight",
        "b8.conv0.bias",
        "b8.conv1.bias",
    ]


# ---------------------------------------------------------------- a loop of one's own


def trained(hooks: List[Any], iterations: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(D.parameters(), lr=0.1, weight_decay=0.1)
    loop = Loop({"D": D}, {"D": optimizer}, hooks)
    for _ in range(iterations):
        with loop.iteration():
            optimizer.zero_grad()
            D(torch.randn(4, 6)).square().mean().backward()
            optimizer.step()
    if iterations:
        loop.end_tick()
    assert not any(D[0].weight is p for p in optimizer.state) or not hooks
    return D


def test_the_frozen_ones_stay_to_the_bit_and_all_others_move() -> None:
    came = trained([], 0).state_dict()
    after = trained([FreezeD(layers=["0.*", "2.bias"])]).state_dict()
    assert {name for name in came if torch.equal(came[name], after[name])} == {"0.weight", "0.bias", "2.bias"}


def test_something_else_that_moves_a_frozen_layer_ends_the_training() -> None:
    freeze = FreezeD(layers=["0.*"])
    D = nn.Sequential(nn.Linear(6, 1))
    optimizer = torch.optim.Adam(D.parameters())
    loop = Loop({"D": D}, {"D": optimizer}, [freeze])
    with loop.iteration():
        D(torch.ones(1, 6)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        D[0].bias.add_(1)
    with pytest.raises(RuntimeError, match=r"1 frozen tensors of D have changed \(0.bias first\)"):
        loop.end_tick()


def test_a_state_of_other_layers_is_refused_by_their_names() -> None:
    networks = {"D": nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 1))}
    first, second = FreezeD(layers=["0.*"]), FreezeD(layers=["1.*"])
    Loop(networks, {"D": torch.optim.Adam(networks["D"].parameters())}, [first])
    state = first.state_dict()
    FreezeD.check_state(state, networks)
    with pytest.raises(ValueError, match=r"the state has layers=\['0\.\*'\], this run layers=\['1\.\*'\]"):
        second.load_state_dict(state)
    with pytest.raises(ValueError, match=r"it has frozen 0\.bias, which D has not"):
        FreezeD.check_state(state, {"D": nn.Linear(6, 8)})


def test_it_needs_d_and_the_optimizer_that_trains_it() -> None:
    G, D = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(ValueError, match="needs D among the networks"):
        Loop({"G": G}, {"G": torch.optim.Adam(G.parameters())}, [FreezeD(layers=["weight"])])
    with pytest.raises(ValueError, match="needs the optimizer that trains D"):
        Loop({"G": G, "D": D}, {"D": torch.optim.Adam(G.parameters())}, [FreezeD(layers=["weight"])])


# ---------------------------------------------------------------- the real loop


@pytest.fixture(scope="module")
def came(host_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks") / "networks.pkl", host_dir)


@pytest.fixture(scope="module")
def by_host(train: Any, came: Path) -> Run:
    return train("--freeze-d=16", f"--resume={came}", "--batch=64", mode="off")


def unmoved(run: Run, came: Path, host: Path) -> List[str]:
    """D's tensors that are those of the pickle."""
    before, after = (load_networks(path, host)["D"] for path in (came, run.snapshot(1)))
    tensors = dict(after.named_parameters()) | dict(after.named_buffers())
    return [name for name, tensor in before.named_parameters() if torch.equal(tensor, tensors[name])]


def test_a_hosts_run_freezes_the_block_and_says_so(by_host: Run, came: Path, host_dir: Path) -> None:
    assert unmoved(by_host, came, host_dir) == [
        f"b16.{layer}" for layer in
        ("fromrgb.weight", "fromrgb.bias", "conv0.weight", "conv0.bias", "conv1.weight", "conv1.bias", "skip.weight")
    ]  # fmt: skip
    assert by_host.options["D_kwargs"]["block_kwargs"]["freeze_layers"] == 4
    assert "FreezeD leaves 4 layers of D as they come, " in by_host.output and "as --freezed=4 does." in by_host.output
    assert 0 < by_host.stats[-1]["FreezeD/share"]["mean"] < 1


def test_the_hook_alone_gives_the_same_networks(by_host: Run, train: Any, came: Path, host_dir: Path) -> None:
    by_hook = train("--freeze-d=b16.*", f"--resume={came}", "--batch=64", mode="off")
    assert by_hook.options["D_kwargs"]["block_kwargs"].get("freeze_layers", 0) == 0
    one, other = (load_networks(run.snapshot(1), host_dir) for run in (by_host, by_hook))
    assert differing({**one, "D": nn.Module()}, {**other, "D": nn.Module()}) == []
    tensors: List[Dict[str, torch.Tensor]] = [networks["D"].state_dict() for networks in (one, other)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[1])


def test_all_ranks_have_the_frozen_layers_of_the_pickle(train: Any, came: Path, host_dir: Path) -> None:
    """The host resumes on the first rank alone, sends no buffers, and compares ranks before each snapshot."""
    run = train("--freeze-d=16", f"--resume={came}", "--batch=64", "--gpus=2", mode="off")
    assert len(unmoved(run, came, host_dir)) == 7


@pytest.mark.parametrize("options, said", [
    (["--freeze-d=8"], "--freeze-d: they would be frozen as they were drawn at random; give --resume=PICKLE"),
    (["--freeze-d=8", "--freezed=3", "--resume={came}"], "the host's own option for it says 3, and this one 7"),
    (["--freeze-d=32", "--resume={came}"], "--freeze-d: D has no block of resolution 32; those that can be frozen"),
    (["--freeze-d=3blocks", "--resume={came}"], "--freeze-d: D has fewer blocks than 3"),
    (["--freeze-d=*", "--resume={came}"], "--freeze-d: they are all that D has, and it would not train"),
    (["--freeze-d=-4"], "--freeze-d: must be one resolution of D such as 32"),
    (["--freeze-d=b16.*", "--resume={came}", "--regan-ratio=0.3", "--regan-target=D", "--regan-interval=1"],
     "--freeze-d: D.b16.conv0.weight would have to stay as it came, and --regan-ratio prunes it (3 such in all)"),
    (["--freeze-d=b8.conv0.*", "--resume={came}", "--regan-ratio=0.3", "--regan-target=both", "--regan-granularity=channel",
      "--regan-channel-min=2", "--regan-channel-multiple=1", "--regan-interval=1"],
     "--freeze-d: D.b8.conv0.weight would have to stay as it came, and --regan-ratio prunes it"),
    (["--freeze-d=b8.conv0.weight", "--resume={came}", "--rg", "--rg-reach=0.3@1kimg", "--metrics=fid50k_full"],
     "--freeze-d: D.b8.conv0.weight would have to stay as it came, and --rg prunes it"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(options: List[str], said: str, came: Path, data_zip: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    common = ["train", "--host=embedded", f"--outdir={tmp_path}", f"--data={data_zip}", "--device=cpu", "--metrics=none"]
    result = CliRunner().invoke(main, [*common, "--cbase=256", "--cmax=16", *(each.format(came=came) for each in options)])
    assert result.exit_code == 2 and said in result.output.replace("\n", " ") and not list(tmp_path.iterdir())
