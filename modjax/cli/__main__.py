"""``python -m modjax.cli``."""

from modjax.cli import main

if __name__ == "__main__":
    main()
