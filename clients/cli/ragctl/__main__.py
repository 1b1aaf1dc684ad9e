"""`python -m ragctl`."""

from ragctl.main import main

if __name__ == "__main__":
    main()
