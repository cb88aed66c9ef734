"""Threads: their number and where it comes from, many callers at once, and life after fork()."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from cases import FUNCTIONS, assert_same_bits, random

import softlane
from softlane import _core, _threads

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_openmp = pytest.mark.skipif(not _core.has_openmp(), reason="built without OpenMP")

# Each is above the size from which a call is shared out: rows, short rows, one long row, columns.
SHARED = [((400, 500), -1), ((30000, 10), -1), ((1, 200001), -1), ((2, 21, 5000), 1)]


def run(code, timeout=120, **environment):
    """A fresh interpreter, without the settings of this one."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "SOFTLANE_ISA")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, timeout=timeout)


def printed(code, **environment):
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---- the number of threads ---------------------------------------------------------------------------------------


@pytest.mark.any_isa
def test_set_num_threads_returns_what_was_in_force():
    softlane.set_num_threads(3)
    assert softlane.get_num_threads() == 3
    assert softlane.set_num_threads(5) == 3
    assert softlane.set_num_threads(np.int64(1)) == 5
    assert softlane.set_num_threads(1024) == 1
    assert softlane.get_num_threads() == 1024


@pytest.mark.any_isa
def test_set_num_threads_refuses_what_is_not_a_number_of_threads():
    softlane.set_num_threads(2)
    for n in (0, -1, 1025, 2**40, -(2**70)):
        with pytest.raises(ValueError, match=f"between 1 and 1024, got {n}"):
            softlane.set_num_threads(n)
    for n in (1.0, "2", None, [2]):
        with pytest.raises(TypeError, match="n must be an integer, got"):
            softlane.set_num_threads(n)
    assert softlane.get_num_threads() == 2


def test_more_threads_than_there_is_work():
    for shape, axis in SHARED:
        x = random(shape, np.float32)
        softlane.set_num_threads(1)
        expected = softlane.softmax(x, axis=axis)
        softlane.set_num_threads(64)
        assert_same_bits(softlane.softmax(x, axis=axis), expected)


NUMBER = "import softlane; print(softlane.get_num_threads())"
ORIGIN = "import softlane; from softlane import _threads; print(_threads.origin())"


@needs_openmp
@pytest.mark.any_isa
def test_omp_num_threads_is_honoured():
    assert printed(NUMBER, OMP_NUM_THREADS="3") == "3"
    assert printed(NUMBER, OMP_NUM_THREADS=" 5, 2 ") == "5"  # the first is for the outermost level
    assert printed(NUMBER, OMP_NUM_THREADS="99999") == "1024"
    assert printed(ORIGIN, OMP_NUM_THREADS="3") == "OMP_NUM_THREADS"
    default = printed(NUMBER)
    for nonsense in ("0", "-1", "many", "", "1.5"):
        assert printed(NUMBER, OMP_NUM_THREADS=nonsense) == default


@needs_openmp
@pytest.mark.any_isa
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_affinity_is_honoured():
    cpu = min(os.sched_getaffinity(0))
    assert printed(f"import os; os.sched_setaffinity(0, {{{cpu}}})\n{NUMBER}") == "1"


def v1(folder, quota):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


def make_cgroup(tmp_path, groups, files):
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return _threads._cgroup_cpus(tmp_path / "fs", tmp_path / "groups")


@pytest.mark.any_isa
@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),  # a parent's quota holds
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "200000 100000\n"}, 0.5),
        ("0::/a\n", {"a/cpu.max": "nonsense\n"}, None),
        ("4:cpu,cpuacct:/x\n", v1("cpu,cpuacct/x", 400000), 4.0),
        ("4:cpu:/x\n", v1("cpu/x", -1), None),
        ("4:cpu:/x\n", v1("cpu", 250000), 2.5),  # in a container
        ("3:cpuset:/x\n4:memory:/\n", {"cpuset/x/cpu.cfs_quota_us": "1\n"}, None),
        ("0::/\n4:cpu:/\n", {"cpu.max": "300000 100000\n", **v1("cpu", 100000)}, 1.0),
        ("", {}, None),
    ],
)  # fmt: skip
def test_cgroup_quota(tmp_path, groups, files, cpus):
    assert make_cgroup(tmp_path, groups, files) == cpus


@pytest.mark.any_isa
def test_no_cgroups_at_all(tmp_path):
    assert _threads._cgroup_cpus(tmp_path, tmp_path / "absent") is None


@needs_openmp
@pytest.mark.any_isa
@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (100.0, 8), (None, 8)])
def test_a_quota_lowers_the_number_of_threads(monkeypatch, quota, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(_threads, "_cgroup_cpus", lambda: quota)
    found, origin = _threads._default()
    assert found == threads
    assert ("quota" in origin) == (threads < 8)


# ---- the path ----------------------------------------------------------------------------------------------------


@pytest.mark.any_isa
def test_softlane_isa_chooses_the_path():
    active = "import softlane; from softlane import _core; print(_core.active_isa())"
    for path in _core.available_isas():
        assert printed(active, SOFTLANE_ISA=path) == path
    assert printed(active) == printed(active, SOFTLANE_ISA="") == _core.available_isas()[0]


@pytest.mark.any_isa
def test_an_unknown_softlane_isa_is_an_import_error_that_lists_the_paths():
    for wanted in ("sse9", "AVX2", "avx2 ", "none"):
        done = run("import softlane", SOFTLANE_ISA=wanted)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"ImportError: SOFTLANE_ISA={wanted!r}")
        assert all(path in last for path in _core.available_isas())


def test_use_isa(isa):
    assert _core.active_isa() == isa
    assert not _core.use_isa("nothing")
    assert _core.active_isa() == isa
    assert _core.available_isas()[-1] == "portable"


# ---- many callers at once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_many_python_threads_on_the_same_arrays(threads):
    softlane.set_num_threads(threads)
    shapes = [*SHARED, ((5, 7), 0)]
    arrays = [(random(shape, dtype), axis) for shape, axis in shapes for dtype in (np.float32, np.float16)]
    expected = [[compute(x, axis=axis) for compute in FUNCTIONS.values()] for x, axis in arrays]
    start, failures = threading.Barrier(6), []

    def work(seed):
        try:
            start.wait(60)
            for i in np.random.default_rng(seed).permutation(len(arrays)):
                x, axis = arrays[i]
                for compute, result in zip(FUNCTIONS.values(), expected[i], strict=True):
                    assert_same_bits(compute(x, axis=axis), result)
                    out = np.empty_like(result)
                    assert_same_bits(compute(x, axis=axis, out=out), result)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert not any(worker.is_alive() for worker in workers)
    assert failures == []


@pytest.mark.any_isa
def test_the_gil_is_released_for_large_arrays():
    """While one thread computes for long, another one gets to run Python."""
    softlane.set_num_threads(1)
    x = random((40, 500000), np.float32)
    out = np.empty_like(x)
    before, running, done = threading.Event(), [], threading.Event()

    def count():
        before.set()
        while not done.is_set():
            running.append(None)
            done.wait(0.0005)

    counter = threading.Thread(target=count, daemon=True)
    counter.start()
    assert before.wait(60)
    seen, calls, start = len(running), 0, time.monotonic()
    while calls < 3 or time.monotonic() - start < 0.2:
        softlane.softmax(x, out=out)
        calls += 1
    seen = len(running) - seen
    done.set()
    counter.join(60)
    assert seen >= 2 * calls  # were the GIL held, there would be one chance after each call


# ---- fork --------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, time
import numpy as np
import softlane
from softlane import _core
assert _core.use_isa({isa!r})
softlane.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
long = x.reshape(1, -1)
expected = softlane.softmax(x), softlane.logsumexp(long), softlane.log_softmax(x, axis=0)  # the pool is alive now
assert not _core.forked()
child = os.fork()
if child == 0:
    try:
        ok = _core.forked() and softlane.get_num_threads() == 2
        for _ in range(3):
            got = softlane.softmax(x), softlane.logsumexp(long), softlane.log_softmax(x, axis=0)
            ok = ok and all(a.tobytes() == b.tobytes() for a, b in zip(got, expected))
        softlane.set_num_threads(3)
        ok = ok and softlane.softmax(x).tobytes() == expected[0].tobytes()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if _core.forked() and softlane.softmax(x).tobytes() == expected[0].tobytes() else 1)
        ok = ok and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if ok else 1)
    finally:
        os._exit(2)
deadline = time.monotonic() + 60
while True:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        break
    if time.monotonic() > deadline:
        os.kill(child, 9)
        os.waitpid(child, 0)
        sys.exit("the child hangs")
    time.sleep(0.01)
assert status == 0, status
assert not _core.forked()
assert softlane.softmax(x).tobytes() == expected[0].tobytes()  # and the parent's pool still works
print("done")
"""


@needs_fork
def test_a_child_of_fork_computes_and_does_not_hang(isa):
    assert printed(FORK.format(isa=isa)) == "done"


POOL = """
import multiprocessing
import numpy as np
import softlane
from softlane import _core
x = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)
softlane.set_num_threads(2)

def work(seed):
    return _core.forked(), softlane.softmax(x + np.float32(seed)).tobytes()

if __name__ == "__main__":
    expected = [softlane.softmax(x + np.float32(seed)).tobytes() for seed in range(4)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(work, range(4)).get(60) == [(True, e) for e in expected]
    print("done")
"""


@needs_fork
@pytest.mark.any_isa
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs the fork start method")
def test_a_multiprocessing_pool_of_forked_workers():
    assert printed(POOL) == "done"
