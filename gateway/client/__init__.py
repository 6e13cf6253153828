"""A client of the HTTP API for Python programs."""
