"""`python -m benchsuite`: the same as the command `benchsuite`."""

from benchsuite.cli.main import main

if __name__ == "__main__":
    main()
