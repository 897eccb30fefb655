"""A small photo studio: solids as distance fields, a camera that marches rays to them, and softbox light."""
