"""Finding bindings: what is installed, what lies in a directory, and how each is loaded, one idea a module.

Nothing here imports a plugin until its class is asked for.
"""
