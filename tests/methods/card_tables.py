"""The tables of options and statistics in the methods' cards, made of their declarations.

``python tests/methods/card_tables.py`` writes them anew, between the marks that a card has for them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List

from training_hooks.methods.method import Method, methods
from training_hooks.methods.setting import Setting

__all__ = ["card_of", "with_tables"]


def card_of(method: Method) -> Path:
    """The card of a method: in its folder, or beside its module under its name."""
    module = Path(sys.modules[method.config.__module__].__file__ or "")
    named = module.with_name(f"{method.name}.md")
    return named if named.is_file() else module.with_name("card.md")


def with_tables(text: str, method: Method) -> str:
    """A card's text with today's tables."""
    for name, table in _tables(method).items():
        mark = f"<!-- {name} -->"
        before, _, rest = text.partition(f"{mark}\n")
        after = rest.partition(f"{mark}\n")[2]
        text = f"{before}{mark}\n{table}\n{mark}\n{after}" if rest else text
    return text


def _tables(method: Method) -> Dict[str, str]:
    options = ["| option | default | meaning |", "| --- | --- | --- |"]
    if method.presets:
        names = ", ".join(f"`{name}`" for name in method.presets)
        meaning = f"start from the settings of {names}, or of a file that [`regan-ext tune`]"
        options.append(f"| `--{method.name}-preset` | none | {meaning}(../../../docs/tune.md) wrote; other options win |")
    if method.switch is None:
        options.append(f"| `{method.switch_flag}` | off | {method.help.rstrip('.')} |")
    options += [_row(method, each) for each in method.settings if not each.is_hidden]
    statistics = [f"| `{each.name}` | {each.meaning} |" for each in method.statistics]
    return {"options": "\n".join(options), "statistics": "\n".join(["| statistic | meaning |", "| --- | --- |", *statistics])}


def _row(method: Method, each: Setting) -> str:
    default = "off" if each.name == method.switch else each.told or f"{each.default}"
    told = each.help.rstrip(".?") + (f": {_listed(each.choices)}" if each.kind == "choice" else "")
    more = f"; {each.more}" if each.more else ""
    return f"| `{method.flag(each.name)}` | {default} | {told}{more} |"


def _listed(choices: "tuple[str, ...]") -> str:
    words: List[str] = [f"`{choice}`" for choice in choices]
    return ", ".join(words[:-1]) + f" or {words[-1]}"


if __name__ == "__main__":
    for declared in methods():
        card = card_of(declared)
        card.write_text(with_tables(card.read_text("utf-8"), declared), "utf-8")
        print(card)
