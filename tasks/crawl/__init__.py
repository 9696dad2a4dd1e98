"""Keeps the pictures and pages that launches link to, and what a page says of itself."""
