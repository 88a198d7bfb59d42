"""The session engine: which store serves a call, and how turns reach Redis after an outage."""
