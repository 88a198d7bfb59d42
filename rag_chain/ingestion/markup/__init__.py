"""Markup languages: where their sections and tables are, and which parts are not visible text."""
