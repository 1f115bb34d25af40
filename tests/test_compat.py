"""Compatibility fixes: each looks for its fault, and mends only that."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import scipy.linalg
import torch

from regan_ext.hosts.compat import fixes as compat
from regan_ext.hosts.compat.grid_sample import grid_sample


def fix(name: str) -> compat.Fix:
    return next(f for f in compat.FIXES if f.name == name)


def test_sampler_takes_its_data_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = torch.utils.data.Sampler
    monkeypatch.setattr(sampler, "__init__", object.__init__, raising=False)
    assert fix("sampler").is_present()
    fix("sampler").mend({})
    assert not fix("sampler").is_present()

    class Infinite(sampler):
        def __init__(self, dataset: Any) -> None:
            super().__init__(dataset)
            self.dataset = dataset

    assert Infinite([1, 2]).dataset == [1, 2]


def test_square_root_takes_disp_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = scipy.linalg.sqrtm
    monkeypatch.setattr(scipy.linalg, "sqrtm", lambda A: plain(A))  # noqa: PLW0108, the signature since SciPy 1.18
    assert fix("sqrtm").is_present()
    fix("sqrtm").mend({})
    assert not fix("sqrtm").is_present()
    matrix = np.array([[4.0, 1.0], [0.0, 9.0]])
    root, error = scipy.linalg.sqrtm(matrix, disp=False)
    np.testing.assert_allclose(root @ root, matrix, atol=1e-12)
    assert error == 0.0
    np.testing.assert_allclose(scipy.linalg.sqrtm(matrix), root)


def test_second_derivative_of_grid_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    class Once(torch.autograd.Function):
        """grid_sample as in torch 1.10 to 2.11: its backward pass cannot be differentiated."""

        @staticmethod
        def forward(ctx: Any, image: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(image, grid)
            return image.clone()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, grad: torch.Tensor) -> Any:
            return grad, None

    monkeypatch.setattr(torch.nn.functional, "grid_sample", lambda image, grid, **_: Once.apply(image, grid))
    assert fix("grid_sample").is_present()
    monkeypatch.undo()

    class Module:
        grid_sample: Any = None

    fix("grid_sample").mend({"torch_utils.ops.grid_sample_gradfix": Module})
    image = torch.randn(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(1, 4, 4, 2, dtype=torch.float64) * 2 - 1
    assert torch.autograd.gradgradcheck(lambda x: Module.grid_sample(x, grid), [image])


def test_a_host_whose_own_grid_sample_fails_gets_ours() -> None:
    class Module:
        """As in a host with an operation of its own, which its loop switches on."""

        enabled = False

        @staticmethod
        def grid_sample(image: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
            if Module.enabled:
                raise TypeError("'tuple' object is not callable")
            return torch.nn.functional.grid_sample(image, grid, align_corners=False)

    modules = {"torch_utils.misc": compat, "torch_utils.ops.grid_sample_gradfix": Module}
    assert fix("grid_sample").is_in(modules) and not Module.enabled
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(warnings, "showwarning", warnings.showwarning)
        assert compat.apply(modules, ["grid_sample"]) == ["grid_sample"]
    assert Module.grid_sample is grid_sample and not fix("grid_sample").is_in(modules)


def test_integer_betas_become_floats() -> None:
    kwargs: Dict[str, Any] = {"lr": 0.1, "betas": [0, 0.99]}
    compat.float_betas(kwargs)
    torch.optim.Adam([torch.zeros(1)], **kwargs)
    assert [type(beta) for beta in kwargs["betas"]] == [float, float]


def test_needed_fixes_are_named_and_only_those_are_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = []
    fixes = [
        compat.Fix("present", "", lambda: True, lambda modules: mended.append("present")),
        compat.Fix("absent", "", lambda: False, lambda modules: mended.append("absent")),
    ]
    monkeypatch.setattr(compat, "FIXES", fixes)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    assert compat.apply({"torch_utils.misc": compat}) == ["present"] == mended


def test_warnings_of_the_host_are_shown_once_and_others_always(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    compat._show_once("/host")
    for _ in range(3):
        warnings.showwarning(UserWarning("a"), UserWarning, "/host/x.py", 1)
        warnings.showwarning(UserWarning("b"), UserWarning, "/elsewhere/x.py", 1)
    assert shown == ["a", "b", "b", "b"]


def test_stand_ins_come_last_and_serve_what_the_hosts_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["somewhere"])  # neither distutils nor setuptools nor pkg_resources
    assert compat.missing_modules() == ["distutils", "pkg_resources"]
    compat.prepare_imports()
    compat.prepare_imports()
    assert sys.path[0] == "somewhere" and len(sys.path) == 2
    places = list(sys.path)
    monkeypatch.undo()
    loaded = {}
    for name in ("distutils", "distutils.util", "pkg_resources"):
        folder = places if "." not in name else loaded["distutils"].__path__
        spec = importlib.machinery.PathFinder.find_spec(name, folder)
        assert spec is not None and spec.loader is not None
        loaded[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[name])
    strtobool = loaded["distutils.util"].strtobool
    assert strtobool("Yes") == 1 and strtobool("off") == 0
    with pytest.raises(ValueError, match="perhaps"):
        strtobool("perhaps")
    parse_version = loaded["pkg_resources"].parse_version
    assert parse_version("1.10") > parse_version("1.9.1") > parse_version("1.9")


def test_nothing_is_offered_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("_distutils_hack", "pkg_resources"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert compat.missing_modules() == []
    compat.prepare_imports()
    assert sys.path == [str(tmp_path)]


def test_import_of_the_package_is_light() -> None:
    output = subprocess.run(
        [sys.executable, "-c", "import regan_ext, sys; print('torch' in sys.modules, 'click' in sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert output.strip() == "False False"


def test_every_fix_says_what_a_user_would_see() -> None:
    for one in compat.FIXES:
        assert len(one.fault) > 20 and one.name.isidentifier() and inspect.isfunction(one.is_present)
