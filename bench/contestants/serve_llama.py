"""Serves llama-server's HTTP API from xllamacpp: `python -m bench.contestants.serve_llama SETTING FILE`.

The setting is JSON; the file gets the number of the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from pathlib import Path


def main() -> None:
    """Serve until the process is ended."""
    # Not installed where this file's types are checked.
    xllamacpp = importlib.import_module("xllamacpp")
    setting = json.loads(sys.argv[1])
    Path(sys.argv[2]).write_text(str(os.getpid()), "utf-8")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = setting["model"]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(setting["port"])
    parameters.n_parallel = setting["n_parallel"]
    parameters.n_ctx = setting["ctx_size"]
    parameters.kv_unified = True
    parameters.cache_ram_mib = setting.get("cache_ram", 512)  # a second cache of prompts, as big as the binding's
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = setting["n_threads"]
    server = xllamacpp.Server(parameters)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
