"""Jitted kernels. With control/ and the codecs under protocol/, the only place that imports numba.

Kernels over the engine's state are compiled with `_nrt=False`: they allocate nothing, and without it Numba counts
references to every array at every inner call (21 instead of 11 ms for 100,000 tags).

Numba's cache key is a kernel's own file. After changing a kernel that others call, use another NUMBA_CACHE_DIR, or the
old callee lives on inside its callers.
"""
