"""`python -m data_plane`: run the Data Plane on the settings of the environment."""

from __future__ import annotations

from triplane.runtime import garbage, numerics

numerics.pin()
garbage.loading()

from data_plane.daemon.service import main  # noqa: E402
from triplane.runtime import daemon  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(daemon.run("data", None, main))
