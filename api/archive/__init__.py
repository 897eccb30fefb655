"""A ZIP of pairs: its directory, its members, its manifest. Nothing of it is ever written by its name."""
