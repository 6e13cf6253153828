"""The HTTP edge: check, store, enqueue, answer."""
