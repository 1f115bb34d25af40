"""The floors of both packages: imports run downwards only; and tests do not import each other."""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest

from training_hooks.core.engine import dotted_name, look_up

ROOT = Path(__file__).parent.parent
# A room is a package or a module directly under one of the two; the two themselves are doors, not rooms.
FLOORS: Dict[str, int] = {
    **dict.fromkeys(("training_hooks.core",), 1),
    **dict.fromkeys(("training_hooks.nvidia", "training_hooks.sparsity"), 2),
    **dict.fromkeys(("training_hooks.methods",), 3),
    **dict.fromkeys(("training_hooks.observers",), 4),
    **dict.fromkeys(("regan_ext.support",), 11),
    **dict.fromkeys(("regan_ext.hosts",), 12),
    **dict.fromkeys(("regan_ext.runs", "regan_ext.snapshots"), 13),
    **dict.fromkeys(("regan_ext.data",), 14),
    **dict.fromkeys(("regan_ext.metrics", "regan_ext.doctor", "regan_ext.report", "regan_ext.export"), 15),
    **dict.fromkeys(("regan_ext.train",), 16),
    **dict.fromkeys(("regan_ext.steps",), 17),
    **dict.fromkeys(("regan_ext.tickets", "regan_ext.groups"), 18),
    **dict.fromkeys(("regan_ext.tables", "regan_ext.demo"), 19),
    **dict.fromkeys(("regan_ext.tune", "regan_ext.blocks"), 20),
    **dict.fromkeys(("regan_ext.cli",), 21),
    **dict.fromkeys(("regan_ext.__main__",), 22),
}
DOORS = ("regan_ext", "training_hooks")


def modules() -> Dict[str, Path]:
    """Dotted names of all modules of the product."""
    found = {}
    for package in DOORS:
        for path in (ROOT / package).rglob("*.py"):
            if "stand_ins" not in path.parts:  # packages of other names, for hosts
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """What a module imports of the product, wherever in it."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            names = [f"{source}.{alias.name}" for alias in node.names]
            yield from (each if each in MODULES else source for each in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in MODULES} - set(DOORS) == set(FLOORS)
    assert sum(name.startswith("regan_ext.") for name in FLOORS) <= 20


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(DOORS)))
def test_imports_run_downwards(name: str) -> None:
    for imported in imports(name):
        if imported.split(".")[0] in DOORS and imported not in DOORS and room(imported) != room(name):
            assert FLOORS[room(imported)] < FLOORS[room(name)], f"{name} imports {imported}"


def test_the_hooks_need_torch_alone() -> None:
    for name in MODULES:
        if room(name).startswith("training_hooks"):
            roots = {imported.split(".")[0] for imported in imports(name)}
            assert roots <= {*sys.stdlib_module_names, "torch", "numpy", "training_hooks"}, name  # NumPy for its random state


def test_no_circle_inside_a_room() -> None:
    """A module that is imported while it is half loaded would work or not by who comes first."""
    graph: Dict[str, List[str]] = {name: [i for i in imports(name) if i in MODULES and i not in DOORS] for name in MODULES}
    done: Set[str] = set()

    def visit(name: str, path: Tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for imported in graph[name]:
                visit(imported, (*path, name))
            done.add(name)

    for name in sorted(set(MODULES) - set(DOORS)):
        visit(name, ())


def test_what_tests_share_lies_in_support_or_beside_one_suite() -> None:
    """A file of tests that imported another would run with it, and could not be moved without it."""
    tests = Path(__file__).parent
    for path in tests.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith(("test_", "conftest")), f"{path.relative_to(tests)} imports {name}"


@pytest.mark.parametrize("name", DOORS)
def test_a_warning_of_ours_is_an_error(name: str) -> None:
    with pytest.raises(UserWarning, match="of ours"):
        warnings.warn_explicit("of ours", UserWarning, "file.py", 1, module=f"{name}.core.files")
    with pytest.warns(UserWarning, match="of others"):
        warnings.warn_explicit("of others", UserWarning, "file.py", 1, module=f"others.{name}")


@pytest.mark.parametrize("name", [
    "training_hooks.apa.AdaptivePseudoAugmentation", "training_hooks.diffaug.DiffAugment", "training_hooks.hook.Hook",
    "training_hooks.pairs.Pairs", "training_hooks.progress.Progress", "training_hooks.reconfiguration.Reconfiguration",
    "training_hooks.seams.HookedLoss", "training_hooks.seams.hooked_optimizer", "training_hooks.stability.Stability",
])  # fmt: skip
def test_names_that_runs_of_0_1_0_have_saved_are_found(name: str) -> None:
    assert look_up(name) is look_up(dotted_name(name)) and dotted_name(name) != name
    assert dotted_name("torch.optim.Adam") == "torch.optim.Adam"


def test_the_tests_of_a_file_stay_in_one_process(request: pytest.FixtureRequest, worker_id: str) -> None:
    """Else each process makes the long runs of its files anew, and the suite takes half as long again."""
    assert worker_id == "master" or request.node.nodeid.endswith("@test_structure")
