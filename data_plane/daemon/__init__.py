"""The daemon around the engine: configuration, Kafka, the spool, clocks, metrics."""
