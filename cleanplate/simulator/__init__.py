"""A faithful FLUX Erase server with a clock and faults, for tests, benches and a first look without an account."""
