"""The contracts between the planes: Avro records, the topic catalogue, the registry lock and the codec."""
