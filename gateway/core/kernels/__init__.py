"""Jitted kernels. With control/ and the codecs under protocol/, the only place that imports numba.

Kernels over the engine's state are compiled with `_nrt=False`: they allocate nothing, and without it Numba counts
references to every array at every inner call (21 instead of 11 ms for 100,000 tags).

Numba's cache knows a kernel's own file, not the files of what it calls: `gateway.kernelcache` gives each state of a
module and of all it stands on a folder of its own.
"""
