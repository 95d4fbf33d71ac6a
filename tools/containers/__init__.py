"""What the container images have besides the services and the sync process."""
