"""Many answers at once on one model: a thread that computes them together, step by step.

`scheduler` is that thread and the queue before it, `sequences` what the context remembers and may use again, `pace`
how much of a prompt a step takes, `answer` one answer in the making, and `images` the pictures in its prompt.
"""
