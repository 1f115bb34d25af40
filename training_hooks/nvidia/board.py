"""Where the processes of one run leave notes for each other, outside of their collectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

from ..core.files import whole_file

__all__ = ["Board", "Files", "Store"]


class Board:
    """Notes by name. What one process has put, all others get from then on."""

    def put(self, name: str, text: str = "") -> None:
        """Leave a note."""
        raise NotImplementedError

    def get(self, name: str) -> Optional[str]:
        """The note of that name; None where there is none yet."""
        raise NotImplementedError


class Files(Board):
    """Notes as files, for processes of one machine.

    Args:
        path: that they have in common, without a file there yet; names of notes are its endings.
    """

    def __init__(self, path: "str | Path"):
        self._path = Path(path)

    def put(self, name: str, text: str = "") -> None:
        with whole_file(self._file(name)) as file:
            file.write(text.encode())

    def get(self, name: str) -> Optional[str]:
        file = self._file(name)  # asked for in every iteration, and almost always absent
        return file.read_text(encoding="utf-8") if file.exists() else None

    def _file(self, name: str) -> Path:
        return self._path.with_suffix(f".{name}")


class Store(Board):
    """Notes in a store of ``torch.distributed``, for processes of several machines.

    Args:
        store: the ``torch.distributed.Store`` that they have in common.
        prefix: of the notes' names in it.
    """

    def __init__(self, store: Any, prefix: str):
        self._store, self._prefix = store, prefix

    def put(self, name: str, text: str = "") -> None:
        self._store.set(f"{self._prefix}/{name}", text)

    def get(self, name: str) -> Optional[str]:
        key = f"{self._prefix}/{name}"
        return bytes(self._store.get(key)).decode() if self._store.check([key]) else None
