"""``python -m trtdsl``: the command line, where its script is not on the path."""

from trtdsl.cli import main

if __name__ == "__main__":
    main()
