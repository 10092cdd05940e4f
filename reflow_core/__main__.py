"""`python -m reflow_core`."""

import sys

from reflow_core.cli import main

sys.exit(main())
