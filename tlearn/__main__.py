"""``python -m tlearn``."""

import sys

from tlearn.cli import main

sys.exit(main())
