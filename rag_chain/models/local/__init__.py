"""Models that run on this machine, without a key or a network."""
