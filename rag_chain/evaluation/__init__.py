"""Labelled question sets, and measures of retrieval and of answers on them."""
