"""HTML from templates. Whatever is put into one is escaped, but for what is ``markupsafe.Markup``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["render"]


def render(template: Path, **values: Any) -> str:
    """The page that a template makes of values.

    Args:
        template: Jinja2's, which may include what lies beside it.
        values: what it names.
    """
    import jinja2

    options: Any = dict(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(template.parent), **options)
    return environment.get_template(template.name).render(values) + "\n"
