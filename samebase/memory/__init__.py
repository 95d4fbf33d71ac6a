"""In-memory fakes of the ports, for tests and demonstrations. They pass the same contract suites as the real ones."""
