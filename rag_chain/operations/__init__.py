"""Running it: worker threads and the cores of this machine."""
