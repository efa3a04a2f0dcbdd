"""``python -m tlearn``."""

from tlearn.cli import run

if __name__ == "__main__":
    run()
