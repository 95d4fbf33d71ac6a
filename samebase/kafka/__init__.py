"""The log as a Kafka topic with one partition."""
