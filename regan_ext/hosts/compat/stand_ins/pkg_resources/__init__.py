"""Stand-in for ``pkg_resources``, gone since setuptools 82: the one function that the hosts use."""

from packaging.version import parse as parse_version

__all__ = ["parse_version"]
