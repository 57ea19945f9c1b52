"""Jitted kernels. With control/ and the codecs under protocol/, the only place that imports numba."""
