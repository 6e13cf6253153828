"""OpenAI's image API over the same edits, batches and uploads: its shapes on the outside, nothing of its own inside."""
