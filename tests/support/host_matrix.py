"""Which method and which form of a snapshot fit which host: the tables in ``docs/hosts.md``, made of what the flavours say.

``python tests/support/host_matrix.py`` writes them anew, between their marks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, Mapping

from regan_ext.cli import main as cli
from regan_ext.hosts.checkout import FLAVOURS
from regan_ext.hosts.flavour import Flavour, Unfit
from training_hooks.methods.method import methods

__all__ = ["FORMATS", "PAGE", "with_matrix"]

PAGE = Path(__file__).parents[2] / "docs" / "hosts.md"
#: What ``export --to`` makes of a snapshot.
FORMATS = tuple(next(p for p in cli.commands["export"].params if p.name == "to").type.choices)  # type: ignore[attr-defined]


def with_matrix(text: str) -> str:
    """The page with today's tables."""
    for mark, table in (("<!-- host × feature -->\n", _matrix), ("<!-- host × format -->\n", _exports)):
        before, _, rest = text.partition(mark)
        text = f"{before}{mark}{table()}{mark}{rest.partition(mark)[2]}"
    return text


def _matrix() -> str:
    titles = {method.name: method.title for method in methods()}
    for flavour in FLAVOURS:
        titles.update({feature: _title(feature) for feature in flavour.unfit if feature not in titles})
    return _table(titles, lambda flavour: flavour.unfit)


def _exports() -> str:
    return _table({to: f"`{to}`" for to in FORMATS}, lambda flavour: flavour.exports)


def _table(titles: Dict[str, str], unfit: Callable[[Flavour], Mapping[str, Unfit]]) -> str:
    """Of each host, whether it has what the titles are of, and below the table why not."""
    rows = [["host", *titles.values()], ["---"] * (1 + len(titles))]
    whys: Dict[str, int] = {}
    for flavour in FLAVOURS:
        rows.append([flavour.name, *(_cell(unfit(flavour).get(feature), whys) for feature in titles)])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"{number}. {why}" for why, number in whys.items())]) + "\n"


def _title(feature: str) -> str:
    """Of a value of a method's setting, such as "regan.granularity=channel of G": the option as it is typed."""
    name, _, rest = feature.partition(".")
    setting, _, value = rest.partition("=")
    value, _, network = value.partition(" of ")
    option = next(f"`{method.flag(setting)}={value}`" for method in methods() if method.name == name)
    return f"{option}, {network}" if network else option


def _cell(unfit: "Unfit | None", whys: Dict[str, int]) -> str:
    if unfit is None:
        return "yes"
    number = whys.setdefault(unfit.why, len(whys) + 1)
    return f"{'no' if unfit.when is None else 'not always'} ({number})"


if __name__ == "__main__":
    PAGE.write_text(with_matrix(PAGE.read_text("utf-8")), "utf-8")
