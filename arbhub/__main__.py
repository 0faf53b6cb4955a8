"""`python -m arbhub` is `arbhub`."""

from arbhub.cli.main import main

if __name__ == "__main__":
    main()
