"""The local stack: a one-node Kafka, a schema registry, topics from the catalogue, and the supervisor of the daemons."""
