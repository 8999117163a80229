"""The speed bench: this project and its peers side by side on one machine (``make bench``)."""
