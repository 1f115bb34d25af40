"""A snapshot in another form."""
