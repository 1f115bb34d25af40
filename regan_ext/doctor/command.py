"""``regan-ext doctor``: what a first run would stumble over, with remedies, ready to paste into an issue."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Optional, Tuple

from .. import __version__
from ..hosts import embedded
from ..hosts.checkout import HostError
from ..hosts.compat import fixes as compat
from ..hosts.download_cache import dnnlib_cache
from ..support.errors import UserError
from ..support.text import echo, terminal
from . import checks as doctor_checks
from . import cuda as doctor_cuda
from . import gpu as doctor_gpu
from .findings import Check, Finding, Surroundings, look, run_check

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["examine", "run", "sections", "show"]

_PACKAGES = ("numpy", "scipy", "pillow", "click", "requests", "tqdm", "psutil", "setuptools", "ninja", "tensorboard")
_STYLES = {"ok": "green", "patched": "cyan", "todo": "bold red", "info": "blue"}
_NARROW = 80


def sections(around: Surroundings) -> List[Tuple[str, List[Tuple[str, Check]]]]:
    """The checks by heading, each with the name of its finding."""
    writable, free_space = doctor_checks.writable, doctor_checks.free_space
    cache = partial(writable, find=embedded.cache_folder, variable="REGAN_CACHE_DIR")
    dnnlib = partial(writable, find=dnnlib_cache, variable="DNNLIB_CACHE_DIR")
    temporary = partial(writable, find=_temporary_folder, variable="TMPDIR")
    here = partial(free_space, find=Path.cwd, remedy="free some, or give an --outdir on another disk")
    packages = (*_PACKAGES, *(around.checkout.flavour.packages if around.checkout is not None else ()))
    there = partial(free_space, find=_temporary_folder, remedy="free some, or set TMPDIR to a folder on another disk")
    return [
        (
            "Python and packages",
            [
                ("Python", doctor_checks.python),
                ("PyTorch", doctor_gpu.pytorch),
                ("device", doctor_gpu.device),
                *((name, doctor_checks.package) for name in packages),
            ],
        ),
        ("Extras", [(f"[{name}]", doctor_checks.extra_packages) for name in doctor_checks.EXTRAS]),
        (
            "Host",
            [
                ("host", doctor_checks.host),
                ("train.py", doctor_checks.patch_state),
                ("embedded host", doctor_checks.embedded_host),
                ("FID detector", doctor_checks.fid_detector),
            ],
        ),
        (
            "Compatibility",
            [
                *((fix.name, doctor_checks.fix) for fix in compat.FIXES),
                *((name, doctor_checks.stand_in) for name in ("distutils", "pkg_resources")),
            ],
        ),
        ("CUDA operations", doctor_cuda.checks(around)),
        (
            "Folders",
            [
                ("regan-ext cache", cache),
                ("dnnlib cache", dnnlib),
                ("torch builds", doctor_cuda.torch_builds),
                ("temporary files", temporary),
                ("space here", here),
                ("space temporary", there),
            ],
        ),
    ]


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


def examine(around: Surroundings) -> Iterator[Tuple[str, List[Finding]]]:
    """The findings by heading. They come one heading at a time, since some checks take a while."""
    for heading, checks in sections(around):
        yield heading, [run_check(name, check, around) for name, check in checks]


def run(host: Optional[str], as_json: bool) -> int:
    """Print the findings; returns 1 if one of them asks the user to do something, else 0.

    Args:
        host: as for ``regan-ext train --host``.
        as_json: print one JSON object with "version", "findings" and "todo", and nothing else.

    Raises:
        UserError: ``host`` is no host.
    """
    try:
        around = look(host)
    except HostError as err:
        raise UserError(f"--host: {err}") from err
    if as_json:
        findings = [finding for _, found in examine(around) for finding in found]
        todo = sum(finding.status == "todo" for finding in findings)
        report = {"version": __version__, "findings": [asdict(finding) for finding in findings], "todo": todo}
        echo(json.dumps(report, indent=2))
    else:
        todo = show(examine(around), terminal())
    return 1 if todo else 0


def show(found: Iterator[Tuple[str, List[Finding]]], console: "Console") -> int:
    """Print the findings, each as soon as its heading is complete; returns how many are "todo"."""
    from rich.text import Text

    console.print(f"regan-ext {__version__} doctor", style="bold")
    counts: Counter[str] = Counter()
    for heading, findings in found:
        console.print(Text("\n" + heading, style="bold"))
        for finding in findings:
            counts[finding.status] += 1
            _show_finding(finding, console)
    tally = ", ".join(f"{counts[status]} {status}" for status in _STYLES if counts[status])
    todo = counts["todo"]
    verdict = f"{todo} thing{'s' if todo > 1 else ''} for you to do" if todo else "Nothing for you to do"
    mended = "; what is patched regan-ext corrects while it runs" if counts["patched"] else ""
    console.print()
    _print_wrapped(console, Text(), Text(f"{verdict} ({tally}){mended}.", style=_STYLES["todo" if todo else "ok"]))
    return todo


def _show_finding(finding: Finding, console: "Console") -> None:
    from rich.text import Text

    label = Text.assemble("  ", (f"{finding.status:<8}", _STYLES[finding.status]))
    if console.width >= _NARROW:
        label.append(f"{finding.name:<17}", style="bold")
        _print_wrapped(console, label, Text(finding.detail))
    else:
        _print_wrapped(console, label, Text.assemble((finding.name, "bold"), ": ", finding.detail))
    if finding.remedy:
        _print_wrapped(console, Text.assemble(" " * 10, ("do: ", _STYLES["todo"])), Text(finding.remedy))


def _print_wrapped(console: "Console", label: "Text", text: "Text") -> None:
    """Print ``label`` and ``text``, further lines below the text, without blanks at their ends: people paste this.

    Elsewhere than on a terminal it is one line: programs look for paths in it.
    """
    from rich.text import Text

    width = max(20, console.width - len(label))
    for i, line in enumerate(text.wrap(console, width, overflow="fold") if console.is_terminal else [text]):
        line.rstrip()
        console.print((label if i == 0 else Text(" " * len(label))) + line, soft_wrap=True)
