"""`python -m invorto` is the `invorto` command."""

from invorto.cli import main

if __name__ == "__main__":
    main()
