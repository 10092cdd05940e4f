"""`python -m reflow_core`."""

import sys

from reflow_core.cli import main

if __name__ == "__main__":  # a cluster's worker imports this module too
    sys.exit(main())
