"""The documents and their answers for clients of the Model Context Protocol: ``rag-chain mcp``."""
