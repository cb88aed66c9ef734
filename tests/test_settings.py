"""How many threads compute and on which path: set by the caller, the environment or the machine."""

import asyncio
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from interpreter import printed, run

import softlane
from softlane import _config, _core, _threads

pytestmark = pytest.mark.any_isa
needs_threads = pytest.mark.skipif(_core.thread_engine() == "none", reason="built without threads")


# ---- the number of threads ---------------------------------------------------------------------------------------


@needs_threads
def test_set_num_threads_returns_what_was_in_force():
    softlane.set_num_threads(3)
    assert softlane.get_num_threads() == 3
    assert softlane.set_num_threads(5) == 3
    assert softlane.set_num_threads(np.int64(1)) == 5
    assert softlane.set_num_threads(1024) == 1
    assert softlane.get_num_threads() == 1024


@needs_threads
@pytest.mark.parametrize("function", [softlane.set_num_threads, softlane.num_threads])
def test_what_is_not_a_number_of_threads_is_refused(function):
    softlane.set_num_threads(2)
    name = function.__name__
    for n in (0, -1, 1025, 2**40, -(2**70)):
        with pytest.raises(ValueError, match=f"^{name}: n must be between 1 and 1024, got {n}$"):
            function(n)
    for n in (1.0, "2", None, [2], True, False, np.True_):
        with pytest.raises(TypeError, match=f"^{name}: n must be an integer, got"):
            function(n)
    assert softlane.get_num_threads() == 2


@pytest.mark.skipif(_core.thread_engine() != "none", reason="built with threads")
def test_a_build_without_threads_says_1():
    softlane.set_num_threads(8)
    with softlane.num_threads(4):
        assert softlane.get_num_threads() == 1
    assert _threads.origin() == "built without threads"


@needs_threads
def test_num_threads_nests_and_ends_with_its_block():
    softlane.set_num_threads(5)
    with softlane.num_threads(2):
        assert softlane.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), softlane.num_threads(np.int64(7)):
            assert softlane.get_num_threads() == 7
            raise ZeroDivisionError
        assert softlane.get_num_threads() == 2
        assert softlane.set_num_threads(4) == 5  # of the process
        assert softlane.get_num_threads() == 2
    assert softlane.get_num_threads() == 4


@needs_threads
def test_num_threads_holds_in_its_context():
    """Another thread has a context of its own; a task has the one in which it began."""
    softlane.set_num_threads(5)
    seen = []

    async def request(n):
        with softlane.num_threads(n):
            await asyncio.sleep(0.001 * n)
            return softlane.get_num_threads()

    async def outer():
        with softlane.num_threads(9):
            inherited = asyncio.create_task(asyncio.to_thread(softlane.get_num_threads))
        return await asyncio.gather(request(3), request(1), request(2), inherited)

    with softlane.num_threads(2):
        thread = threading.Thread(target=lambda: seen.append(softlane.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [5]
        assert asyncio.run(outer()) == [3, 1, 2, 9]
        assert softlane.get_num_threads() == 2


# ---- the engine --------------------------------------------------------------------------------------------------


def test_only_the_openmp_build_needs_openmp():
    module = Path(_core.__file__).read_bytes()
    uses = [name for name in (b"GOMP_", b"__kmpc_", b"libgomp", b"libomp", b"vcomp") if name in module]
    assert bool(uses) == (_core.thread_engine() == "openmp"), uses


NUMBER = "import softlane; from softlane import _threads; print(softlane.get_num_threads(), _threads.origin())"


@needs_threads
def test_omp_num_threads_is_honoured():
    assert printed(NUMBER, OMP_NUM_THREADS="3") == "3 OMP_NUM_THREADS"
    assert printed(NUMBER, OMP_NUM_THREADS=" 5, 2 ") == "5 OMP_NUM_THREADS"  # the first is for the outermost level
    digits = [] if _core.thread_engine() == "openmp" else ["9" * 5000]  # libgomp takes the number of processors then
    for many in ("99999", "0001025", *digits):
        assert printed(NUMBER, OMP_NUM_THREADS=many) == "1024 OMP_NUM_THREADS"


@needs_threads
def test_nonsense_in_omp_num_threads_is_ignored(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    default = _threads._default()
    for nonsense in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        with pytest.warns(UserWarning, match=f"OMP_NUM_THREADS='{nonsense}' is ignored"):
            assert _threads._default() == default
    monkeypatch.setenv("OMP_NUM_THREADS", " ")
    assert _threads._default() == default


@needs_threads
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_affinity_is_honoured():
    cpu = min(os.sched_getaffinity(0))
    assert printed(f"import os; os.sched_setaffinity(0, {{{cpu}}})\n{NUMBER}").startswith("1 ")


LIMITS = """
import softlane, softlane.threadpoolctl, threadpoolctl
from softlane import _core
softlane.set_num_threads(5)
with threadpoolctl.threadpool_limits(2):
    print(softlane.get_num_threads())
with threadpoolctl.threadpool_limits(3, user_api="blas"):
    print(softlane.get_num_threads())
print([(i["num_threads"], i["version"] == softlane.__version__, i["filepath"] == _core.__file__)
       for i in threadpoolctl.threadpool_info() if i["user_api"] == "softlane"])
"""


@needs_threads
def test_threadpoolctl_limits_the_threads_of_softlane():
    pytest.importorskip("threadpoolctl")
    assert printed(LIMITS).split("\n") == ["2", "5", "[(5, True, True)]"]


OPENMP_LIMITS = """
import softlane, threadpoolctl
with threadpoolctl.threadpool_limits(1):
    print(softlane.get_num_threads())
    softlane.set_num_threads(2)
    print(softlane.get_num_threads())
"""


@pytest.mark.skipif(_core.thread_engine() != "openmp", reason="built without OpenMP")
def test_openmp_s_own_setting_counts_unless_the_user_sets_a_number():
    pytest.importorskip("threadpoolctl")
    assert printed(OPENMP_LIMITS, OMP_NUM_THREADS="4").split() == ["1", "2"]


def v1(folder, quota):
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": "100000\n"}


def make_cgroup(tmp_path, groups, files):
    (tmp_path / "groups").write_bytes(groups.encode("latin-1"))
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return _threads._cgroup_cpus(tmp_path / "fs", tmp_path / "groups")


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
        ("no colon\n0:one\n\n0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("1:name=\xff:/\n0::/\xfe\n", {"cpu.max": "150000 100000\n"}, 1.5),  # not UTF-8
        ("0::/a\n", {"a/cpu.max": "50000 0\n", "cpu.max": "200000 100000\n"}, 2.0),
        ("0::/a\n", {"a/cpu.max": f"{'9' * 400} 1\n", "cpu.max": "200000 100000\n"}, 2.0),
        ("4:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "50000\n", "cpu/x/cpu.cfs_period_us": "0\n"}, None),
    ],
)  # fmt: skip
def test_cgroup_quota(tmp_path, groups, files, cpus):
    assert make_cgroup(tmp_path, groups, files) == cpus


def test_no_cgroups_at_all(tmp_path):
    assert _threads._cgroup_cpus(tmp_path, tmp_path / "absent") is None


@needs_threads
@pytest.mark.parametrize(("quota", "threads"), [(0.5, 1), (1.0, 1), (1.9, 1), (2.0, 2), (100.0, 8), (None, 8)])
def test_a_quota_lowers_the_number_of_threads(monkeypatch, quota, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(_threads, "_cgroup_cpus", lambda: quota)
    found, origin = _threads._default()
    assert found == threads
    assert ("quota" in origin) == (threads < 8)


@needs_threads
@pytest.mark.parametrize(("processors", "threads"), [(6, 6), (None, 1)])
def test_where_affinity_is_unknown_the_processors_count(monkeypatch, processors, threads):
    """As on macOS and Windows; Python may know no number."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(_threads, "_cgroup_cpus", lambda: None)
    assert _threads._default()[0] == threads


@pytest.mark.parametrize(
    ("engine", "forked", "why"),
    [
        ("none", False, "built without threads"),
        ("openmp", True, "OpenMP in a child of fork"),
        ("openmp", False, None),
        ("pool", True, None),
    ],
)
def test_which_build_can_have_one_thread_only(monkeypatch, engine, forked, why):
    monkeypatch.setattr(_core, "thread_engine", lambda: engine)
    monkeypatch.setattr(_threads, "_forked", forked)
    monkeypatch.setattr(_core, "get_threads", lambda: 3)
    assert softlane.get_num_threads() == (1 if why else 3)
    assert _config.config()["threads from"] == (why or _threads._origin)


# ---- the path ----------------------------------------------------------------------------------------------------


def test_softlane_isa_chooses_the_path():
    active = "import softlane; from softlane import _core; print(_core.active_isa())"
    for path in _core.available_isas():
        assert printed(active, SOFTLANE_ISA=path) == path
    assert printed(active) == printed(active, SOFTLANE_ISA="") == _core.available_isas()[0]


def test_an_unknown_softlane_isa_is_an_import_error_that_lists_the_paths():
    for wanted in ("avx3", "best", "\udcff" if os.name == "posix" else "?"):  # a byte that is not UTF-8
        done = run("import softlane", SOFTLANE_ISA=wanted)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith(f"ImportError: SOFTLANE_ISA={wanted!r}")
        assert all(path in last for path in _core.available_isas())


def test_use_isa():
    assert _core.available_isas()[-1] == "portable"
    for path in _core.available_isas():
        assert _core.use_isa(path)
        assert not _core.use_isa("nothing")
        assert _core.active_isa() == path


def test_a_build_without_threads_warns_once(monkeypatch):
    monkeypatch.setattr(_core, "thread_engine", lambda: "none")
    monkeypatch.setattr(_threads, "_has_warned", False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        softlane.set_num_threads(1)
        assert not caught
        softlane.set_num_threads(2)
        softlane.set_num_threads(3)
        with softlane.num_threads(2):
            assert softlane.get_num_threads() == 1
    (warning,) = caught
    assert warning.category is RuntimeWarning and "without threads" in str(warning.message)
    assert warning.filename == __file__
