"""``python -m cleanplate``."""

from cleanplate.cli import program

if __name__ == "__main__":
    program()
