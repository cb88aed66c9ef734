"""What a call allocates, and what it keeps."""

import gc
import sys
import tracemalloc

# Pieces of about 2^18 elements, copied where the kernels cannot read the input, are no temporary of its size.
SMALL = 1 << 12
PIECES = 5 << 20


def blocks_kept(calls, work, *args, **kwargs):
    """Python's memory blocks for each call that are still there afterwards.

    The least of three rounds: caches fill once, a leak shows in each round.
    """
    rounds = []
    for _ in range(4):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(calls // 3):
            work(*args, **kwargs)
        gc.collect()
        rounds.append((sys.getallocatedblocks() - before) / (calls // 3))
    return min(rounds[1:])


def peak(call, *args, **kwargs):
    """The most memory that NumPy and Python held at a time during a call, over what they held before.

    The least of three, since the interpreter allocates now and then for itself.
    """
    call(*args, **kwargs)
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            call(*args, **kwargs)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
    return min(peaks)
