"""What the end-to-end tests of sync-executor stand on: a private server, the demo API, executors, a faulty network."""
