"""The fixtures of this folder."""

from tests.pipeline.servers import server

__all__ = ["server"]
