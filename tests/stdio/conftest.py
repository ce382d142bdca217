"""The fixtures of this folder."""

from tests.faulty import fake

__all__ = ["fake"]
