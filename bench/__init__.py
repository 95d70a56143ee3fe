"""The benchmark: `nox -s bench` measures ours and others side by side and writes docs/benchmarks.md.

`cases` says what a case is, `running` measures one, `processes` starts what is measured, each in a process of its own
(`contestants`), `figures` has the arithmetic, `page` and `plot` show what came out. The cases themselves stand in
folders, one a subject: `engine`, `start`, `core`, `http`. `environments` makes what peers and ours are installed in.
"""
