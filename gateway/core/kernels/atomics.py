"""Acquire and release on int64 arrays, for state that other threads read while no one holds the GIL.

x86 orders loads with loads and stores with stores by itself and hides a missing barrier; ARM64 does not. Every
word by which one thread tells another that data is ready goes through these two. With the JIT off (debugging)
they are plain reads and writes under the GIL.

`try_lock` takes a word from 0 to 1, for the few tables with several writers; `store_release` of 0 gives it back. Who
holds it does a bounded piece of work without the GIL and without waiting for anything, so that others may spin.

The sequence lock of a row: the writer makes the word odd (`begin_write`), writes, makes it even (`end_write`). A
reader takes the word before (`load_acquire`), reads, fences, and compares; an odd or changed word means again.
"""

from __future__ import annotations

from typing import Any

from numba import config, njit, types
from numba.extending import intrinsic

from gateway.core.types import Int64s

if config.DISABLE_JIT:

    def load_acquire(array: Int64s, index: int) -> int:
        return int(array[index])

    def store_release(array: Int64s, index: int, value: int) -> None:
        array[index] = value

    def try_lock(words: Int64s, index: int) -> bool:
        if words[index]:
            return False
        words[index] = 1
        return True

    def fence_acquire() -> None:
        return

    def fence_release() -> None:
        return

else:

    @intrinsic
    def load_acquire(typingctx: Any, array: Any, index: Any) -> Any:
        """`array[index]` of a one-dimensional int64 array; later reads stay after it."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

        return types.int64(array, types.int64), codegen

    @intrinsic
    def store_release(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
        """`array[index] = value`; earlier writes stay before it."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            builder.store_atomic(args[2], builder.gep(data, [args[1]]), "release", 8)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64), codegen

    @intrinsic
    def try_lock(typingctx: Any, words: Any, index: Any) -> Any:
        """Whether `words[index]` was 0 and is 1 now, in one step; later reads and writes stay after it."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            free, held = context.get_constant(types.int64, 0), context.get_constant(types.int64, 1)
            place = builder.gep(data, [args[1]])
            return builder.extract_value(builder.cmpxchg(place, free, held, "acq_rel", "acquire"), 1)

        return types.boolean(words, types.int64), codegen

    @intrinsic
    def fence_acquire(typingctx: Any) -> Any:
        """Reads before stay before what follows."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.fence("acquire")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def fence_release(typingctx: Any) -> Any:
        """Writes after stay after what came before."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.fence("release")
            return context.get_dummy_value()

        return types.void(), codegen


@njit(cache=True, nogil=True, error_model="numpy")
def begin_write(words: Int64s, index: int) -> None:
    words[index] = words[index] + 1
    fence_release()


@njit(cache=True, nogil=True, error_model="numpy")
def end_write(words: Int64s, index: int) -> None:
    store_release(words, index, words[index] + 1)


@njit(cache=True, nogil=True, error_model="numpy")
def read_word(words: Int64s, index: int) -> int:
    """For Python: `load_acquire`."""
    return load_acquire(words, index)


@njit(cache=True, nogil=True, error_model="numpy")
def write_word(words: Int64s, index: int, value: int) -> None:
    """For Python: `store_release`."""
    store_release(words, index, value)


@njit(cache=True, nogil=True, error_model="numpy")
def begin_writes(words: Int64s, indexes: Int64s) -> None:
    """`begin_write` of several rows."""
    for i in range(len(indexes)):
        begin_write(words, indexes[i])


@njit(cache=True, nogil=True, error_model="numpy")
def end_writes(words: Int64s, indexes: Int64s) -> None:
    """`end_write` of several rows."""
    for i in range(len(indexes)):
        end_write(words, indexes[i])
