"""The step publish_launches."""
