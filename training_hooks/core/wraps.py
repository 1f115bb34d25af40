"""Wrappers around the parts of a forward pass, in an order, each of which can be taken off again."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

__all__ = ["Wrap", "Wraps"]

_OF_CLASS = object()


class Wrap:
    """One wrapper in its place.

    Args:
        wraps: that it is one of.
        part: name of what it is around.
        wrapper: makes what takes the place of what it is given.
        order: place among those of the same part; smaller ones are further inside.
    """

    def __init__(self, wraps: "Wraps", part: str, wrapper: Callable[[Any], Any], order: int):
        self._wraps, self.part, self.wrapper, self.order = wraps, part, wrapper, order

    def renew(self) -> None:
        """Ask the wrapper anew what takes the place of the part."""
        self._wraps.compose(self.part)

    def remove(self) -> None:
        """Take the wrapper off; those around it stay. Safe to repeat."""
        self._wraps.remove(self)


class Wraps:
    """The wrappers around the attributes of one object.

    Args:
        owner: the host's loss, or what stands for it in a loop of one's own. It looks its parts up on itself when it computes.
    """

    def __init__(self, owner: Any):
        self.owner = owner
        self._plain: Dict[str, Tuple[Any, Any]] = {}  # part → what it was, and what the object itself had by that name
        self._wraps: Dict[str, List[Wrap]] = {}

    def add(self, part: str, wrapper: Callable[[Any], Any], order: int = 0) -> Wrap:
        """Put a wrapper around a part, further outside the greater its order, or the later it comes.

        Raises:
            ValueError: there is no such part.
        """
        if not hasattr(self.owner, part):
            raise ValueError(f"the method needs a forward pass that goes through {part}; {type(self.owner).__name__} has none")
        if part not in self._plain:
            self._plain[part] = getattr(self.owner, part), vars(self.owner).get(part, _OF_CLASS)
        wrap = Wrap(self, part, wrapper, order)
        self._wraps.setdefault(part, []).append(wrap)
        self._wraps[part].sort(key=lambda each: each.order)
        self.compose(part)
        return wrap

    def compose(self, part: str) -> None:
        """Put the part with what is around it into its place, or the part alone where nothing is."""
        whole, own = self._plain[part]
        if not self._wraps[part] and own is _OF_CLASS:
            delattr(self.owner, part)
            return
        for wrap in self._wraps[part]:
            whole = wrap.wrapper(whole)
        setattr(self.owner, part, whole)

    def remove(self, wrap: Wrap) -> None:
        """Take one off."""
        if wrap in self._wraps[wrap.part]:
            self._wraps[wrap.part].remove(wrap)
            self.compose(wrap.part)

    def clear(self) -> None:
        """Take all off."""
        for wraps in self._wraps.values():
            for wrap in list(wraps):
                wrap.remove()
