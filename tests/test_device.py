"""The view of torch that lets a host's loop run on the CPU."""

from __future__ import annotations

import platform
import time
import types
from typing import Any

import pytest
import torch
from support.processes import run_fresh_python

from regan_ext.hosts import device


@pytest.fixture
def view() -> Any:
    return device.TorchView(torch)


def test_every_cuda_device_is_the_cpu(view: Any) -> None:
    assert view.device("cuda", 1) == view.device("cuda:3") == torch.device("cpu")
    assert view.device("meta").type == "meta"


def test_everything_else_is_torchs_own(view: Any) -> None:
    assert view.randn is torch.randn and view.nn.Linear is torch.nn.Linear and view.backends is torch.backends
    assert view.distributed.broadcast is torch.distributed.broadcast


def test_uninitialised_memory_is_zero(view: Any) -> None:
    assert torch.equal(view.empty([2, 3], device=view.device("cuda", 0)), torch.zeros(2, 3))


def test_what_the_loop_asks_of_cuda(view: Any) -> None:
    cpu = view.device("cuda", 0)
    assert view.cuda.max_memory_allocated(cpu) == 0
    view.cuda.reset_peak_memory_stats()
    begin, end = view.cuda.Event(enable_timing=True), view.cuda.Event(enable_timing=True)
    begin.record(view.cuda.current_stream(cpu))
    time.sleep(0.02)
    end.record(view.cuda.current_stream(cpu))
    end.synchronize()
    assert begin.elapsed_time(end) >= 19  # milliseconds


def test_modules_see_the_view_and_torch_itself_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.pin_memory)
    module, namespace = types.ModuleType("host"), {"torch": torch}
    device.use_cpu([module, namespace], 1)
    assert module.torch is namespace["torch"] and module.torch.device("cuda").type == "cpu"  # type: ignore[attr-defined]
    assert torch.device("cuda").type == "cuda"
    tensor = torch.ones(2)
    assert tensor.pin_memory() is tensor


def test_cuda_on_request_only_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve("auto") == device.resolve("cpu") == "cpu"
    with pytest.raises(ValueError, match="--device=cpu"):
        device.resolve("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.resolve("auto") == device.resolve("cuda") == "cuda"


ITERATIONS = """
import resource, torch
from regan_ext.hosts import device

def new_pages() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in (40, 60) * 5:  # a loop whose tensors have another width from time to time
        first = torch.ones(megabytes, 250_000)
        del first
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = new_pages()
device.use_cpu([], 1)
new_pages()
print(plain, new_pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told to keep what is freed")
def test_memory_of_one_iteration_is_used_again_by_the_next() -> None:
    plain, kept = map(int, run_fresh_python(["-c", ITERATIONS]).stdout.split())
    assert plain > 100 and kept < plain / 10
