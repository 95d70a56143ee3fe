"""A model in a process of its own, which may die without taking this one along.

``remote`` is what the binding sees, ``child`` is what runs in the other process; ``process`` holds that process, and
``frames`` and ``wire`` are what the two say to each other.
"""
