"""Wrappers around the parts of a forward pass, in an order, each of which can be taken off again."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

__all__ = ["Wrap", "Wraps"]

_OF_CLASS = object()
#: Part → the network that computes it where the owner asks that network itself, and what it is called there.
_INSIDE = {"G_synthesis": ("G", "synthesis")}


class _StandIn:
    """Stands where an object has a network that it asks for its parts: what is set here, the network itself never sees."""

    def __init__(self, owner: Any, attribute: str):
        self._owner, self._attribute, self._network = owner, attribute, getattr(owner, attribute)

    def stand(self, is_needed: bool) -> None:
        """Stand there, or let the network."""
        setattr(self._owner, self._attribute, self if is_needed else self._network)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._network(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_network":  # not constructed yet
            raise AttributeError(name)
        return getattr(self._network, name)


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
        self._places: Dict[str, Tuple[Any, str]] = {}  # part → object and attribute
        self._plain: Dict[str, Tuple[Any, Any]] = {}  # part → what it was, and what the object itself had by that name
        self._wraps: Dict[str, List[Wrap]] = {}

    def add(self, part: str, wrapper: Callable[[Any], Any], order: int = 0) -> Wrap:
        """Put a wrapper around a part, further outside the greater its order, or the later it comes.

        Raises:
            ValueError: there is no such part.
        """
        if part not in self._plain:
            place, name = self._places[part] = self._place(part)
            self._plain[part] = getattr(place, name), vars(place).get(name, _OF_CLASS)
        wrap = Wrap(self, part, wrapper, order)
        self._wraps.setdefault(part, []).append(wrap)
        self._wraps[part].sort(key=lambda each: each.order)
        self.compose(part)
        return wrap

    def _place(self, part: str) -> Tuple[Any, str]:
        """The object that a part is looked up on, and what it is called there."""
        if hasattr(self.owner, part):
            return self.owner, part
        network, name = _INSIDE.get(part, ("", ""))
        if not hasattr(getattr(self.owner, network, None), name):
            raise ValueError(f"the method needs a forward pass that goes through {part}; {type(self.owner).__name__} has none")
        return _StandIn(self.owner, network), name

    def compose(self, part: str) -> None:
        """Put the part with what is around it into its place, or the part alone where nothing is."""
        (whole, own), (place, name) = self._plain[part], self._places[part]
        if isinstance(place, _StandIn):
            place.stand(bool(self._wraps[part]))
        if not self._wraps[part] and own is _OF_CLASS:
            delattr(place, name)
            return
        for wrap in self._wraps[part]:
            whole = wrap.wrapper(whole)
        setattr(place, name, whole)

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
