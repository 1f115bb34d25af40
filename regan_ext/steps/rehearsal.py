"""What ``train`` says of its options before anything trains."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Dict, Sequence

from ..support.errors import UserError
from ..support.process import error_of

__all__ = ["rehearsed"]


def rehearsed(command: Sequence[str]) -> Dict[str, Any]:
    """Let ``train`` look at its options, with ``-n``.

    Args:
        command: the whole command, without it.

    Returns:
        The keyword arguments of the loop.

    Raises:
        UserError: it does not take them; the message is its own.
    """
    # Apart from this terminal: one that Ctrl-C ends would look like one that refuses.
    apart = os.name == "posix"
    done = subprocess.run([*command, "-n"], stdin=subprocess.DEVNULL, capture_output=True, check=False, start_new_session=apart)
    output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode:
        raise UserError(error_of(f"{output}\n{errors}"))
    found: Dict[str, Any] = json.JSONDecoder().raw_decode(output[output.index("{", output.index("Training options:")) :])[0]
    return found
