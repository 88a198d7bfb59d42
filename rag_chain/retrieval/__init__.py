"""Retrieval: the index on disk, dense and lexical search, fusion, and queries that use the history."""
