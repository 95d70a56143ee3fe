"""Serves llama-server's HTTP API from xllamacpp; run by its own Python: ``llama_server.py MODEL PORT``."""

from __future__ import annotations

import importlib
import sys
import threading


def main() -> None:
    """Serve until the process is ended."""
    # Not installed where this file's types are checked.
    xllamacpp = importlib.import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {"smollm2"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[2])
    parameters.n_parallel = 2
    parameters.n_ctx = 2 * 2048  # divided among the slots
    parameters.embedding = True
    parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    parameters.warmup = False
    # Threads that wait for each other spin; on a busy machine one alone is faster for so small a model.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
