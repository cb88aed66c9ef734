"""softlane.dask on two worker processes: more data than they have memory for, and a worker that is killed."""

import os
import signal
import time

import numpy as np
import pytest

import softlane

pytest.importorskip("distributed")
import dask.array as da
from distributed import Client, LocalCluster

import softlane.dask as sd

pytestmark = [pytest.mark.any_isa, pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

MEMORY = 400 * 2**20  # bytes of each worker
ROWS, CLASSES, CHUNKS = 60_000, 8_000, (2_000, 1_000)


@pytest.fixture(scope="module")
def client():
    if os.name == "posix":  # workers inherit what is ignored, as under nohup, and Dask stops them by signals
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=MEMORY, processes=True, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def block_of(base, pause=0.0, block_info=None):
    """Row r is the base row plus r % 7."""
    time.sleep(pause)
    (first, last), (i, j) = block_info[None]["array-location"]
    shift = (np.arange(first, last) % 7).astype(np.float32)
    return base[i:j] + shift[:, None]


def made(base, **options):
    return da.map_blocks(
        block_of,
        base,
        chunks=(tuple([CHUNKS[0]] * (ROWS // CHUNKS[0])), tuple([CHUNKS[1]] * (CLASSES // CHUNKS[1]))),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
        **options,
    )


def expected(base):
    return softlane.logsumexp(base.astype(np.float64)) + np.arange(ROWS) % 7


@pytest.fixture(scope="module")
def base():
    return np.random.default_rng(0).normal(size=CLASSES).astype(np.float32)


def test_more_data_than_memory(client, base):
    x = made(base)
    assert x.nbytes > 2 * MEMORY
    asked = client.compute([sd.logsumexp(x), sd.softmax(x).sum(), sd.argmax(x).max()])
    # With a timeout: Dask tries for ever what cannot be sent.
    logsumexp, total, largest = [future.result(timeout=120) for future in asked]
    np.testing.assert_allclose(logsumexp, expected(base), rtol=1e-6)
    assert abs(total / ROWS - 1) < 1e-4 and largest == base.argmax()


def test_a_worker_that_is_killed(client, base):
    future = client.compute(sd.logsumexp(made(base, pause=0.05)))
    time.sleep(3)
    assert not future.done()
    victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)
    np.testing.assert_allclose(future.result(timeout=120), expected(base), rtol=1e-6)
    assert victim not in client.run(os.getpid).values()
