"""Standardised fundamentals, point in time: what a company's filings said at an instant, in the same terms for every company."""
