"""Which method fits which host: the table in ``docs/hosts.md``, made of what the hosts' flavours say.

``python tests/support/host_matrix.py`` writes it anew, between its marks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from regan_ext.hosts.checkout import FLAVOURS
from regan_ext.hosts.flavour import Unfit
from training_hooks.methods.method import methods

__all__ = ["PAGE", "with_matrix"]

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
_MARK = "<!-- host × feature -->\n"


def with_matrix(text: str) -> str:
    """The page with today's table."""
    before, _, rest = text.partition(_MARK)
    after = rest.partition(_MARK)[2]
    return f"{before}{_MARK}{_matrix()}{_MARK}{after}"


def _matrix() -> str:
    titles = {method.name: method.title for method in methods()}
    for flavour in FLAVOURS:
        titles.update({feature: _title(feature) for feature in flavour.unfit if feature not in titles})
    rows = [["host", *titles.values()], ["---"] * (1 + len(titles))]
    whys: Dict[str, int] = {}
    for flavour in FLAVOURS:
        cells = [_cell(flavour.unfit.get(feature), whys) for feature in titles]
        rows.append([flavour.name, *cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"{number}. {why}" for why, number in whys.items())]) + "\n"


def _title(feature: str) -> str:
    """Of a value of a method's setting, such as "regan.granularity=channel": the option as it is typed."""
    name, _, rest = feature.partition(".")
    setting, _, value = rest.partition("=")
    return next(f"`{method.flag(setting)}={value}`" for method in methods() if method.name == name)


def _cell(unfit: "Unfit | None", whys: Dict[str, int]) -> str:
    if unfit is None:
        return "yes"
    number = whys.setdefault(unfit.why, len(whys) + 1)
    return f"{'no' if unfit.when is None else 'not always'} ({number})"


if __name__ == "__main__":
    PAGE.write_text(with_matrix(PAGE.read_text("utf-8")), "utf-8")
