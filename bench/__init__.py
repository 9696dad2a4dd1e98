"""What matters to a user, measured side by side with what it is compared to: `make bench`."""
