"""Generators and discriminators in processes of their own, against one process that updates both at once.

One run of four processes serves most of it: two pairs of which one is lost at the end.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.commands import call
from support.processes import TESTS, free_port
from torch import nn
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.functional import softplus

from training_hooks import DiscriminatorBlock, GeneratorBlock
from training_hooks.methods.blocks.cost import Work, alone, blocks, blocks_by_server, data_parallel_by_server, ring_all_reduce

pytestmark = pytest.mark.usefixtures("one_thread")

ITERATIONS, RESUMED, BATCH, PAIRS = 40, 10, 8, 2
ROLES = ("D", "G", "G", "D")  # by rank
HANGS = 2  # rank of the process that is lost in the end
State = Dict[str, torch.Tensor]
CARD = (TESTS.parent / "training_hooks" / "methods" / "blocks" / "card.md").read_text("utf-8")


def generator(pair: int) -> Tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(10 + pair)
    G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 12), nn.Unflatten(1, (3, 2, 2)))
    return G, torch.optim.Adam(G.parameters(), 1e-2, (0.5, 0.99))


def discriminator(seed: int = 0) -> Tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    D = nn.Sequential(nn.Conv2d(3, 8, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8, 1))
    return D, torch.optim.Adam(D.parameters(), 1e-2, (0.5, 0.99))


def latents(pair: int, iteration: int) -> torch.Tensor:
    return torch.randn(BATCH, 4, generator=torch.Generator().manual_seed(1000 * pair + iteration))


def reals(pair: int, iteration: int) -> torch.Tensor:
    return torch.randn(BATCH, 3, 2, 2, generator=torch.Generator().manual_seed(1000 * pair + iteration + 500)) + 1


def train(block: Any, iterations: int, dtype: torch.dtype = torch.float32) -> None:
    for _ in range(iterations):
        if isinstance(block, GeneratorBlock):
            block.step(block.network(latents(block.pair, block.iteration)).to(dtype))
            continue
        D, received = block.network, block.receive()
        fakes, shared = received.float(), dtype != torch.float32
        verdict = D(fakes)
        block.answer(softplus(-verdict).mean(), retain_graph=shared)
        again = verdict if shared else D(fakes.detach())
        block.step((softplus(again) + softplus(-D(reals(block.pair, block.iteration)))).mean())


def in_one_process(pairs: int, iterations: int) -> Tuple[List[State], State]:
    """The generators and the discriminator after simultaneous updates."""
    made = [generator(pair) for pair in range(pairs)]
    D, d_opt = discriminator()
    for i in range(iterations):
        gradients = []
        for pair, (G, g_opt) in enumerate(made):
            g_opt.zero_grad()
            fakes = G(latents(pair, i))
            softplus(-D(fakes)).mean().backward(inputs=list(G.parameters()))
            loss = (softplus(D(fakes.detach())) + softplus(-D(reals(pair, i)))).mean()
            gradients.append(torch.autograd.grad(loss, list(D.parameters())))
        for p, *each in zip(D.parameters(), *gradients):
            p.grad = sum(each[1:], each[0]) / pairs
        for _, optimizer in (*made, (D, d_opt)):
            optimizer.step()
    return [G.state_dict() for G, _ in made], D.state_dict()


def block_of(role: str, pair: int, rank: int, timeout: float = 30.0) -> Any:
    if role == "G":
        return GeneratorBlock(*generator(pair), timeout=timeout)
    return DiscriminatorBlock(*discriminator(rank), timeout=timeout)  # all become that of rank 0


def told(does: Callable[[], Any]) -> str:
    """The name and the words of the error that comes."""
    with pytest.raises((RuntimeError, ValueError)) as caught:
        does()
    return f"{type(caught.value).__name__}: {caught.value}"


def run_rank(rank: int, folder: str, port: int) -> None:
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=len(ROLES))
    role, pair = ROLES[rank], ROLES[:rank].count(ROLES[rank])
    out: Dict[str, Any] = {"unpaired": told(lambda: block_of("D", 0, rank))}
    D, d_opt = discriminator()
    other = nn.Sequential(D, nn.Linear(1, 1)) if rank == ROLES.index("G") else D
    out["unlike"] = told(lambda: (GeneratorBlock if pair else DiscriminatorBlock)(other, d_opt))
    mixed = block_of(role, pair, rank, timeout=1.5 if role == "G" else 20.0)
    mixed.iteration += role == "G"  # as one that has loaded a state, and the other has not
    out["mixed"] = told(lambda: train(mixed, 1))
    block = block_of(role, pair, rank)
    out["order"] = told(lambda: block.step(torch.zeros(1)))
    train(block, ITERATIONS - RESUMED)
    torch.save(block.state_dict(), Path(folder) / f"state-{rank}.pt")
    train(block, RESUMED)
    if role == "G":
        out["shape"] = told(lambda: block.step(block.network(torch.randn(1, 4))))
    out.update(network=block.network.state_dict(), sent=block.sent, received=block.received, place=(block.pair, block.pairs))
    again = block_of(role, pair, rank)
    again.load_state_dict(torch.load(Path(folder) / f"state-{rank}.pt", weights_only=True))
    train(again, RESUMED)
    out["resumed"] = again.network.state_dict()
    half = block_of(role, pair, rank)
    train(half, 1, torch.bfloat16)
    out["half"] = half.sent + half.received
    last = block_of(role, pair, rank, timeout=1.5 if pair else 20.0)
    while rank == HANGS and not (Path(folder) / "lost").exists():
        time.sleep(0.05)
    if rank != HANGS:
        out["lost"] = told(lambda: train(last, 5))
        (Path(folder) / "lost").touch()
    torch.save(out, Path(folder) / f"{rank}.pt")
    os._exit(0)  # as one that is killed: it takes leave of nobody


@dataclass(frozen=True)
class Outcome:
    """What every rank found, and what one process computes."""

    ranks: List[Dict[str, Any]]
    generators: List[State]
    discriminator: State


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("blocks")
    alone = in_one_process(PAIRS, ITERATIONS)  # before the forks, which then have all that it imports
    torch.multiprocessing.start_processes(run_rank, (str(folder), free_port()), nprocs=len(ROLES), start_method="fork")
    return Outcome([torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(len(ROLES))], *alone)


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("which", ["network", "resumed"])
def test_they_equal_one_process_bit_for_bit_and_after_a_resume(outcome: Outcome, which: str) -> None:
    d, first, second, other_d = (each[which] for each in outcome.ranks)
    assert equal(d, outcome.discriminator) and equal(other_d, outcome.discriminator)
    assert equal(first, outcome.generators[0]) and equal(second, outcome.generators[1]) and not equal(first, second)


def test_images_cross_one_way_and_gradients_the_other(outcome: Outcome) -> None:
    images = ITERATIONS * BATCH * 3 * 2 * 2 * 4
    assert all(each["sent"] == each["received"] == images for each in outcome.ranks)
    assert all(each["half"] == images / ITERATIONS for each in outcome.ranks)
    assert [each["place"] for each in outcome.ranks] == [(0, 2), (0, 2), (1, 2), (1, 2)]


def test_all_say_why_they_do_not_go_together_and_none_waits(outcome: Outcome) -> None:
    assert {each["unpaired"] for each in outcome.ranks} == {
        "ValueError: blocks go in pairs: 4 discriminators and 0 generators in 4 processes"
    }
    (unlike,) = {each["unlike"] for each in outcome.ranks}
    assert unlike.startswith("ValueError: the discriminators have to be alike: the one of rank 1 has other parameters")


def test_what_cannot_be_meant_is_refused(outcome: Outcome) -> None:
    d, g = outcome.ranks[:2]
    assert d["mixed"] == "ValueError: the generator goes on at iteration 1, this discriminator at 0"
    assert d["order"] == "RuntimeError: step comes after answer: the generator waits for it"
    assert g["order"].startswith("ValueError: fakes have to be floats with gradients on")
    assert g["shape"].startswith(
        "ValueError: fakes have to be of one shape and dtype: ((1, 3, 2, 2), torch.float32) after ((8,"
    )
    with pytest.raises(ValueError, match="start with torchrun"):
        GeneratorBlock(*generator(0))
    for timeout in (0.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match=r"timeout=.* has to be more than 0"):
            GeneratorBlock(*generator(0), timeout=timeout)


def test_a_process_that_hangs_ends_all_others_with_an_error(outcome: Outcome) -> None:
    """Its pair's, once it has waited; then at once those that wait for a process that has ended."""
    said = [each.get("lost", "") for each in outcome.ranks]
    assert all(each.startswith("PeerLostError: iteration ") for rank, each in enumerate(said) if rank != HANGS)
    assert "the generator of this pair, rank 2, has ended, or has not answered within 1.5 seconds (" in said[3]
    assert "another discriminator has ended" in said[0] and "the discriminator of this pair, rank 0, has ended" in said[1]
    assert "Timed out" in said[3] and "Timed out" not in said[0] + said[1]


def test_the_example_runs_as_torchrun_starts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is behind torchrun; in forks, which have imported PyTorch."""
    monkeypatch.chdir(tmp_path)
    namespace: Dict[str, Any] = {"__name__": "example"}
    exec(compile(CARD.split("```python\n")[1].split("```")[0], "train.py", "exec", dont_inherit=True), namespace)
    config = LaunchConfig(1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork", monitor_interval=0.1)
    elastic_launch(config, namespace["main"])()
    d, g = (torch.load(tmp_path / f"block-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert (d["role"], g["role"], d["iteration"], g["iteration"]) == ("discriminator", "generator", 20, 20)


# ---------------------------------------------------------------- what they cost

SIZE = st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=1000)
WORK: Any = st.builds(Work, st.integers(1, 50).map(lambda pairs: 2 * pairs), *[SIZE] * 9)
QUICK = settings(deadline=None, derandomize=True, database=None, max_examples=20)


@QUICK
@given(work=WORK)
def test_with_a_parameter_server_the_difference_is_that_of_the_thesis(work: Work) -> None:
    """Equation 4.3: of one size and speed for G and D, and answers that are as large as fakes."""
    equal_sides = replace(work, d_bytes=work.g_bytes, d_seconds=work.g_seconds, answer_seconds=0)
    M, v, weights = work.processes, work.speed, work.g_bytes
    gradients, fakes = weights, 2 * work.images * work.image_bytes / M  # fakes of a pair
    expected = M / v * (weights + gradients - fakes) + work.server_seconds * (gradients + weights) * M / 2
    assert data_parallel_by_server(equal_sides).seconds - blocks_by_server(equal_sides).seconds == expected


@QUICK
@given(work=WORK)
def test_no_way_of_blocks_computes_less_than_data_parallelism(work: Work) -> None:
    """Half of the processes wait for the answers, and then for the slower half."""
    parallel, found = ring_all_reduce(work), blocks(work)
    assert found.computing > parallel.computing == alone(work).computing / work.processes
    balanced = replace(work, d_seconds=work.g_seconds, answer_seconds=0)
    assert blocks(balanced).computing == ring_all_reduce(balanced).computing
    way = 2 * work.images * work.image_bytes / work.processes / work.speed  # of a pair's images
    assert way <= found.images <= 2 * way
    assert found.gradients >= 0 and (work.processes > 2 or found.gradients == 0)
    assert found.gradients <= parallel.gradients


WORK_OPTIONS = ["--batch=64", "--resolution=64", "--g-params=4", "--d-params=2", "--g-sec=0.01", "--d-sec=0.02"]


def test_the_command_prints_the_model(capsys: Any) -> None:
    options = [*WORK_OPTIONS, "--answer-sec=0.01", "--link=0.128", "--processes=4", "--server-sec=1", "--format=markdown"]
    code, output = call(["blocks", "cost", *options], capsys)
    assert code == 0 and "4 processes, 64 images of 0.0492 MB an iteration; parameters of G 16 MB, of D 8 MB; 16 MB/s" in output
    rows = {line.split(" | ")[0]: line for line in output.splitlines() if line.startswith("| ")}
    # 64 images of 0.01 + 0.02 + 0.01 s; 24 MB over four processes of 16 MB/s; pairs of 32 images, 1.57 MB each way
    assert rows["| one process"] == "| one process | 2.56 | 0.00 | 0.00 | 0.00 | 0.00 | 2.56 | 0.886 |"
    assert rows["| data parallel, parameter server"].startswith(
        "| data parallel, parameter server | 0.640 | 6.00 | 6.00 | 0.0960 |"
    )
    assert rows["| data parallel, ring all-reduce"].endswith("| 0.640 | 0.00 | 2.25 | 0.00 | 0.00 | 2.89 | 1.00 |")
    assert rows["| blocks, ring all-reduce"].endswith("| 0.960 | 0.00 | 0.500 | 0.00 | 0.0983 | 1.56 | 0.539 |")


@pytest.mark.parametrize("link", ["0.1", "1", "10", "200"])
def test_the_card_has_what_the_command_prints(link: str, capsys: Any) -> None:
    words = CARD.split("```bash\nregan-ext ")[1].split("\n")[0].replace("--link=1 ", f"--link={link} ").split()
    code, output = call([*words, "--format=markdown"], capsys)
    rows = [line.split(" | ") for line in output.splitlines() if line.startswith("| ")][1:]
    assert code == 0 and f"| {link} | {' | '.join(row[6] for row in rows)} |" in CARD


def test_the_card_has_what_was_measured() -> None:
    docs = TESTS.parent / "docs"
    orders = [json.loads(line) for line in (docs / "results" / "blocks-order.jsonl").read_text("utf-8").splitlines()]
    lines = [json.loads(line) for line in (docs / "performance.jsonl").read_text("utf-8").splitlines()]
    speeds = [line for line in lines if line["benchmark"] == "blocks_link"]
    for each in orders:
        kinds = each["in_turn"], each["at_once"]
        values = [*(f"{sum(kind) / len(kind):.2f}" for kind in kinds), *(f"{kind.count(8)}" for kind in kinds)]
        assert f"| {each['rates'][0]:g}, {each['rates'][1]:g} | {' | '.join(values)} |" in CARD
    for each in speeds:
        told = [each[kind][way] for way in ("blocks", "ring_all_reduce") for kind in ("counted", "measured")]
        assert f"| {each['bytes_a_second'] / 1e6:g} | {' | '.join(f'{value:.3f}' for value in told)} |" in CARD
    assert len(orders) == 4 and len(speeds) == 3


@pytest.mark.parametrize(
    "option, told",
    [
        ("--processes=3", "3 is odd, and blocks go in pairs; give 4"),
        ("--processes=0", "'--processes'"),
        ("--link=0", "'--link'"),
        ("--link=nan", "is not a finite number"),
        ("--d-sec=-1", "'--d-sec'"),
        ("--batch=0", "'--batch'"),
        ("--batch=1", "--batch=1 leaves some of 2 processes without an image; give 2 or more"),
        ("", "Missing option '--answer-sec'"),
    ],
)
def test_mistakes_are_one_line(option: str, told: str, capsys: Any) -> None:
    given = [*WORK_OPTIONS, "--link=1", *(["--answer-sec=0.01", option] if option else [])]
    code, output = call(["blocks", "cost", *given], capsys)
    assert code == 2 and output.splitlines()[-1].startswith("Error: ") and told in output.splitlines()[-1]
