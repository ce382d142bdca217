"""The fixtures of this folder."""

from tests.faulty import fake
from tests.pipeline.servers import server

__all__ = ["fake", "server"]
