"""The one place that imports the Interactive Brokers client."""
