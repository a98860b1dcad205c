"""What every daemon shares: settings, configuration, clock, Kafka in and out, snapshots, telemetry, health."""
