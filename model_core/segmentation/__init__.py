"""One subject, files to files."""
