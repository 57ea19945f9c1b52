"""Golden vectors: what kernels and codecs give for fixed inputs, kept as files, to compare two architectures.

The inputs come from integer arithmetic, sums and products alone, which are the same everywhere.
`python -m tests.golden` writes the files anew: do that only where a change of results is meant, and say why.
"""
