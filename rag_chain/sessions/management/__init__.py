"""Management of sessions: list, show, count, export, import, delete."""
