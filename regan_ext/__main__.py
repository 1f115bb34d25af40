"""``python -m regan_ext`` is ``regan-ext``."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="regan-ext")
