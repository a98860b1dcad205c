"""`python -m strategy_plane`: one strategy worker. The numeric pins come first, before anything imports numpy."""

from __future__ import annotations

import sys

from triplane.runtime import garbage, numerics

if __name__ == "__main__":
    numerics.ensure_pinned()
    garbage.loading()
    from strategy_plane.worker.service import main

    sys.exit(main())
