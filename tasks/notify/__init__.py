"""Tells a Discord channel about the next launch, and keeps what it told up to date."""
