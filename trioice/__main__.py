"""``python -m trioice``: the command line."""

import sys

from trioice.cli import main

sys.exit(main())
