"""One module a kind of file: its bytes -> LangChain Documents with positions.

Each function takes the bytes of a file that is not empty and gives Documents whose metadata holds what only the
format knows (``title``, ``heading``, ``page``, ``row`` ...). ``rag_chain.ingestion.loaders`` adds the rest and
turns whatever a parser raises on broken input into ``DocumentLoadError``.
"""
