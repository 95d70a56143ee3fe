"""The user's settings: profiles in ``config.toml``, and the keys that they name.

``profiles`` reads, ``editing`` writes, ``keys`` keeps the keys. Nothing of it is imported before it is needed.
"""
