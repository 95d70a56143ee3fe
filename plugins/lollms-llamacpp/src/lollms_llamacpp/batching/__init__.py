"""Many answers at once on one model: a thread that computes them together, step by step.

`scheduler` is that thread and the queue before it, `sequences` what the context remembers and may use again, `archive`
what it has no room for, `stepper` a step, `pace` how much of a prompt it takes, `crew` how many CPU threads,
`switching` lets Python's other threads give way sooner. `answer` is one answer in the making, `begun` what its reader
has of it, `waking` how an event loop reads it, and `images` are the pictures in its prompt.
"""
