"""Brings the database to this image's revision."""
