"""From windows of returns to expected returns: factors, scores, orthogonalisation, information coefficients, alpha. Pure."""
