"""The kit's servers and proxy, under the names that the tests use."""

from rag_chain.testing.proxy import FaultProxy as ReplyDropper
from rag_chain.testing.servers import RedisServer, binary, free_port

__all__ = ["RedisServer", "ReplyDropper", "binary", "free_port"]
