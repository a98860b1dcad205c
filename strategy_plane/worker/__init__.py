"""The daemon around the engine: Kafka in and out, the barrier loop, snapshots, metrics."""
