"""`python -m order_plane`: the order daemon. The numeric pins come first, before anything imports numpy: learned costs are replayed."""

from __future__ import annotations

import os
import sys
from functools import partial

from triplane.runtime import garbage, numerics

if __name__ == "__main__":
    numerics.ensure_pinned()
    garbage.loading()
    from order_plane.daemon.service import NAME, main
    from order_plane.daemon.stop_points import VARIABLE, StopPoints
    from triplane.runtime.daemon import run

    sys.exit(run(NAME, None, partial(main, stops=StopPoints(os.environ.get(VARIABLE, "")))))
