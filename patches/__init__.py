"""Static patches for hosts, insertions only: ``regan-ext patch show`` prints one."""
