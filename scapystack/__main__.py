"""`python -m scapystack` is the `scapystack` program: see `scapystack.cli.main`."""

from scapystack.cli.main import main

if __name__ == "__main__":
    main()
