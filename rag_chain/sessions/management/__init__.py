"""Sessions as people and programs look after them: list, show, count, export, import, delete."""
