"""``python -m modjax``: the command line."""

from modjax.cli import main

if __name__ == "__main__":
    main()
