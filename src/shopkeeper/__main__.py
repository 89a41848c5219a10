"""`python -m shopkeeper`: everything that is not one of the verbs."""

import sys

from shopkeeper.unchanged import is_unchanged

if __name__ == "__main__" and not (sys.argv[1:] == ["inputs"] and is_unchanged()):
    from shopkeeper.cli.main import main

    main()
