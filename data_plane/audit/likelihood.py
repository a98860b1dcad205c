"""How surprising a return is: the one scale on which explanations of a fault are weighed against each other, in nats."""

from __future__ import annotations

import numpy as np

# Degrees of freedom of daily returns: fat tails, so that a crash is a return and not an error.
FREEDOM = 3.0

# An explanation is called the right one when it is three times as probable as the next.
CLAIM_MARGIN = float(np.log(3.0))


def surprise(move: float, scale: float) -> float:
    """Negative log likelihood of a log return under Student's t with `scale`, up to what all explanations share."""
    return (FREEDOM + 1.0) / 2.0 * float(np.log1p((move / scale) ** 2 / FREEDOM))
