"""Retrieval: the index on disk, dense and lexical search, fusion, and queries that know the history."""
