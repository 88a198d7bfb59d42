"""Sessions and waiting turns on this machine's disk, in SQLite."""
