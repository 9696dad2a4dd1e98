"""The step publish_launch_changes."""
