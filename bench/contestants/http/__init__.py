"""The clients of the HTTP rows, each a small program, and the server that all of them ask (`loopback`)."""
