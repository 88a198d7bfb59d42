"""Running it: the doctor."""
