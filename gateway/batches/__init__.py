"""Batches at the edge: read as a stream, expanded in chunks, answered item by item."""
