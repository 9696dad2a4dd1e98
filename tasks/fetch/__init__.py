"""Reads upcoming launches from the Launch Library and stores them, with what changed."""
