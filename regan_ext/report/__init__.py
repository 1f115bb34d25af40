"""A page about runs, and a live view of one."""
