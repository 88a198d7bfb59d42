"""Plain values and pure functions that the parts of the session engine share."""
