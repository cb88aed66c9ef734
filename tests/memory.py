"""What a call allocates, and what it keeps."""

import gc
import sys
import tracemalloc


def peak(call, *args, **kwargs):
    """The most memory in bytes that NumPy and Python held at a time during a call, over what they held before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call(*args, **kwargs)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def blocks_kept(calls, work):
    """Python's memory blocks for each of many calls that are still there afterwards."""
    return kept(calls, work, sys.getallocatedblocks) / calls


def bytes_kept(calls, work):
    """Bytes of NumPy and Python that are still there after many calls."""
    tracemalloc.start()
    try:
        return kept(calls, work, lambda: tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()


def kept(calls, work, used):
    gc.freeze()  # what is there already need not be looked through
    gc.collect()
    before = used()
    for _ in range(calls):
        work()
    gc.collect()
    gc.unfreeze()
    return used() - before


def assert_below(limit, measure, *args, note="", **kwargs):
    """One measurement of ten is below the limit: caches fill some time, but a temporary or a leak shows every time."""
    found = []
    while not found or (min(found) >= limit and len(found) < 10):
        found.append(measure(*args, **kwargs))
    assert min(found) < limit, f"{min(found)}, expected less than {limit}: {note}"
