"""The step index_launches."""
