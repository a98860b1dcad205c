"""`python -m triplane.control`: run the control daemon."""

from __future__ import annotations

import sys

from triplane.runtime import garbage

if __name__ == "__main__":
    garbage.loading()
    from triplane.control.service import NAME, main
    from triplane.runtime.daemon import run

    sys.exit(run(NAME, None, main))
