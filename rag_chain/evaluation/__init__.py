"""Labelled sets of questions, and the measures of retrieval and of answers over them."""
