"""The daemon around the engine: broker, Kafka, local journal, recovery, metrics."""
