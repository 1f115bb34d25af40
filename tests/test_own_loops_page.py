"""The recipes for loops of one's own: what each says is the work of its method; and they go on, and on several processes.

That they run as they stand is tested with all other snippets, in ``test_docs.py``.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from support import frameworks
from support.processes import TESTS

from training_hooks import Loop

pytestmark = pytest.mark.usefixtures("one_thread")

_RECIPE = re.compile(r"^## ([^\n]+)\n(?:(?!^## |^```).)*^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPES: Dict[str, str] = dict(_RECIPE.findall((TESTS.parent / "docs" / "own-loops.md").read_text("utf-8")))


def run(title: str) -> Dict[str, Any]:
    namespace: Dict[str, Any] = {"__name__": "recipe"}
    exec(compile(RECIPES[title], title, "exec", dont_inherit=True), namespace)
    return namespace


def test_there_is_a_recipe_for_each_network_of_the_paper_and_each_framework() -> None:
    assert [title.split(",")[0] for title in RECIPES] == [
        "What counts", "DCGAN", "SNGAN", "ProGAN", "FastGAN", "Going on", "Several GPUs", "Lightning", "Accelerate",
        "A trainer that is not yours",
    ]  # fmt: skip


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_without_its_methods_does_not_do_what_it_says(
    title: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frameworks.provide(monkeypatch)
    monkeypatch.chdir(tmp_path)
    construct = Loop.__init__

    def without(self: Loop, networks: Any, optimizers: Any, methods: List[Any], **given: Any) -> None:
        construct(self, networks, optimizers, [], **given)

    monkeypatch.setattr(Loop, "__init__", without)
    with pytest.raises(AssertionError):
        run(title)


def test_a_lightning_checkpoint_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and optimizers come from the checkpoint's own parts, the loop's rest from ours."""
    frameworks.provide(monkeypatch)
    recipe = run("Lightning")
    first, checkpoint = recipe["gan"], {}
    first.on_save_checkpoint(checkpoint)
    assert not {"networks", "optimizers"} & set(checkpoint["loop"])
    again = recipe["Gan"]()
    again.load_state_dict(first.state_dict())
    again.on_load_checkpoint(checkpoint)
    data = torch.utils.data.DataLoader(torch.rand(24, 4), batch_size=8)
    recipe["trainer"].fit(again, data)  # sparse in iterations 0-3, dense in 4 and 5
    assert again.loop.state_dict()["iteration"] == 6
    assert not any(hook["networks"]["G"]["sparse"] for hook in again.loop.state_dict()["methods"].values())


def train_rank(rank: int, folder: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ["PORT_OF_TEST"])
    os.chdir(folder)
    recipe = run("Several GPUs")
    torch.save([recipe["G"].state_dict(), recipe["state"]["methods"]], f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_of_the_recipe_are_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT_OF_TEST", str(free.getsockname()[1]))
    torch.multiprocessing.start_processes(train_rank, (str(tmp_path),), nprocs=2, start_method="fork")
    (first, its), (second, others) = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(a, b) for a, b in zip(*(state["regan"]["networks"]["G"]["keep"] for state in (its, others))))
