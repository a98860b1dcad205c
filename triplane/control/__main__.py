"""`python -m triplane.control`: run the control daemon."""

from __future__ import annotations

import sys

from triplane.control.service import NAME, main
from triplane.runtime.daemon import run
from triplane.runtime.settings import Settings

if __name__ == "__main__":
    sys.exit(run(NAME, Settings(), main))
