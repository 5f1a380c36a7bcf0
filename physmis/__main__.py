"""`python -m physmis` is the command `physmis`."""

import sys

from physmis.audit.cli import main

if __name__ == "__main__":
    sys.exit(main())
