"""What the simulated market trades: the rows of assets.csv, or those of its last start where the file is wrong now."""

from __future__ import annotations

import sys
from typing import Final

from triplane.domain.assets import AssetsError, Universe
from triplane.domain.edited_file import read_bytes
from triplane.paper.server.options import Options

KEPT_ASSETS: Final = "assets.taken.csv"


def kept_universe(options: Options) -> Universe:
    """The universe of a start; kept beside the journal for the next one. The planes go on with their last rows, too.

    Raises AssetsError where the file is wrong and none is kept.
    """
    kept = options.state_dir / KEPT_ASSETS if options.state_dir is not None else None
    try:
        text = read_bytes(options.assets).decode("utf-8-sig")
        universe = Universe.parse(text, options.assets.name)
    except (OSError, UnicodeDecodeError, AssetsError):
        if kept is None or not kept.is_file():
            return Universe.load(options.assets)  # which says what is wrong
        print(f"{options.assets} is not taken; the market goes on with the rows of its last start", file=sys.stderr)
        return Universe.load(kept)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{kept.name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(kept)
    return universe
