"""The version, which the package metadata takes from here."""

__version__ = "0.1.0"
