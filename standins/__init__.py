"""What answers in the place of Discord, the Launch Library and PostgreSQL, in the demo, the tests and the bench."""
