"""What the end-to-end tests of the programs stand on: a private server, the demo API, processes, a faulty network."""
