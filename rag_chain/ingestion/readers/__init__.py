"""Readers, one module for each kind of file: bytes -> LangChain Documents with positions.

Each function takes the bytes of a file that is not empty and returns Documents with the metadata that only the format
knows (``title``, ``heading``, ``page``, ``row`` ...). ``rag_chain.ingestion.loaders`` adds the rest and turns any
exception of a parser into ``DocumentLoadError``.
"""
