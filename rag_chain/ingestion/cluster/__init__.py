"""Ingestion on a Ray cluster: its nodes read files and embed texts, this process writes the index.

This uses Ray's actors, not Ray Data. The driver must see each chunk before it is embedded, because texts that
are in the index or in the cache of vectors are not embedded again.
"""
