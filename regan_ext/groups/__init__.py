"""Several runs that exchange their discriminators, as steps."""
