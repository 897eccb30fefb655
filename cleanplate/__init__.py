"""What api, worker and cli share; it imports neither of the first two."""
