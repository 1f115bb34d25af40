"""BPGAN: discriminators and generators in processes of their own, for a loop of one's own; not an option of a host's."""
