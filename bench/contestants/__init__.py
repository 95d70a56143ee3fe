"""The programs that are measured, each run by its own Python as `python -m bench.contestants.NAME`."""
