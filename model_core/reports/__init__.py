"""Documents of any report."""
