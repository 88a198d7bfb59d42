"""Text with marks: where its sections and tables are, and what its readers do not see of it."""
