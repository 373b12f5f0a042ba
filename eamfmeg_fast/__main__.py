"""`python -m eamfmeg_fast`, the same as `eamfmeg`."""

from eamfmeg_fast.cli import main

if __name__ == "__main__":
    main()
