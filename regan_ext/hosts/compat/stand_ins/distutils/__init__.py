"""Stand-in for the standard library's ``distutils``, gone since Python 3.12: the one function that the hosts use."""
