"""What the parts of the session engine pass to each other: plain values and pure functions."""
