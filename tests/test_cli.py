"""The commands of `softlane` on .npy files: the bits of one call, whole outputs or none, and errors in one line."""

import importlib.util
import io
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cases import assert_same_bits, random
from interpreter import printed

import softlane
from softlane import _cli, _files
from softlane.__main__ import FUNCTIONS, main

pytestmark = pytest.mark.any_isa

on_posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and modes of POSIX")

LIKE_X = ["softmax", "log-softmax"]
COMMANDS = [name for name in FUNCTIONS if name != "cross-entropy"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(softlane.__file__).parents[1]))  # absolute, for children
    return tmp_path


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(_files, "BLOCK", 1500)


@pytest.fixture
def on_call(monkeypatch):
    """on_call(function, act): act(number of the call) runs before each call on a block."""

    def install(function, act):
        right, calls = getattr(softlane, function), []

        def wrapper(x, *args, **options):
            if x.size:
                calls.append(x.shape)
                act(len(calls))
            return right(x, *args, **options)

        monkeypatch.setattr(softlane, function, wrapper)
        return calls

    return install


def saved(name, x):
    np.save(name, x)
    return name


def refused(capsys, *arguments, status=1):
    """The message, after nothing else was printed and no file has come or gone."""
    before = {entry.name: entry.stat(follow_symlinks=False).st_size for entry in os.scandir()}
    try:
        assert main([str(a) for a in arguments]) == status
    except SystemExit as done:
        assert done.code == status
    assert {entry.name: entry.stat(follow_symlinks=False).st_size for entry in os.scandir()} == before
    out, err = capsys.readouterr()
    assert not out and "Traceback" not in err
    if status == 1:
        assert err.startswith(f"softlane {arguments[0]}: ") and err.count("\n") == 1
    return err


# ---- Results ----

SHAPES = [
    ((50,), -1),
    ((301, 10), -1),
    ((45, 100), 1),
    ((9, 7, 45), 1),
    ((5, 9, 3), -2),
    ((5, 40, 3), 1),
    ((3, 40, 100), 1),
    ((33, 700), 0),
    ((2, 500), 0),
    ((2, 3, 4, 6), 1),
    ((4100, 48), 0),
    ((3, 5000), -1),
]


def expected(command, x, axis, **options):
    if command == "topk":
        options["k"] = 2
    return getattr(softlane, command.replace("-", "_"))(x, axis=axis, **options)


@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
@pytest.mark.parametrize("command", COMMANDS)
def test_bits_of_one_call(command, shape, axis, folder, small_blocks, on_call):
    for dtype in (np.float32, np.float64):
        x = random(shape, dtype)
        calls = on_call(command.replace("-", "_"), lambda number: None)
        out = "y.npz" if command == "topk" else "y.npy"
        options = ["--k", "2"] if command == "topk" else []
        assert main([command, saved("x.npy", x), "-o", out, "--axis", str(axis), "--force", "--quiet", *options]) == 0
        assert len(calls) > 1 or x.nbytes < 1500
        whole = expected(command, x, axis)
        if command == "topk":
            got = np.load(out)
            assert list(got) == ["values", "indices"]
            assert_same_bits(got["values"], whole.values)
            assert_same_bits(got["indices"], whole.indices)
        else:
            assert_same_bits(np.load(out), whole)


@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
def test_cross_entropy(shape, axis, folder, small_blocks, capsys):
    x = random(shape, np.float32)
    batch = np.moveaxis(x, axis, -1).shape[:-1]
    target = np.random.default_rng(0).integers(shape[axis], size=batch).astype(np.int32)
    target = np.where(np.random.default_rng(1).random(batch) < 0.2, np.int32(7777), target)
    files = saved("x.npy", x), saved("t.npy", target)
    options = ["--axis", str(axis), "--ignore-index", "7777"]
    assert main(["cross-entropy", *files, "-o", "y.npy", *options, "--json"]) == 0
    losses = softlane.cross_entropy(x, target, axis=axis, ignore_index=7777, reduction="none")
    assert_same_bits(np.load("y.npy"), losses)
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == target.size and report["counted"] == (target != 7777).sum()
    mean = softlane.cross_entropy(x, target, axis=axis, ignore_index=7777, dtype=np.float64)
    np.testing.assert_allclose(report["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(report["perplexity"], np.exp(report["mean"]), rtol=1e-12)
    assert main(["cross-entropy", *files, "-o", "y.npy", *options, "--force"]) == 0
    printed_mean, perplexity, rows = capsys.readouterr().out.splitlines()
    assert printed_mean == f"mean {report['mean']:.8g}" and perplexity == f"perplexity {report['perplexity']:.8g}"
    assert rows == f"rows {report['rows']}, of which {report['counted']} count"


def test_means_that_are_no_numbers(folder, capsys):
    x = saved("x.npy", np.float32([[0, -np.inf], [0, 1]]))
    for target, counted in ([1, 0], 2), ([-100, -100], 0):
        assert main(["cross-entropy", x, saved("t.npy", target), "-o", "y.npy", "--json", "--force"]) == 0
        report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert report["mean"] is report["perplexity"] is None and report["counted"] == counted


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "i1", "u2", "i4", "u8", "?"])
def test_dtypes_of_inputs(dtype, folder, small_blocks):
    x = (np.arange(3000).reshape(300, 10) % 7).astype(dtype)
    assert main(["softmax", saved("x.npy", x), "-o", "y.npy"]) == 0
    assert_same_bits(np.load("y.npy"), softlane.softmax(x))


def test_the_file_is_that_of_numpy(folder):
    x = random((20, 7), np.float32)
    for command, axis in ("softmax", 0), ("logsumexp", 1):
        assert main([command, saved("x.npy", x), "-o", "y.npy", "--force", "--axis", str(axis)]) == 0
        file = io.BytesIO()
        np.save(file, expected(command, x, axis))
        assert (folder / "y.npy").read_bytes() == file.getvalue()
    assert main(["topk", "x.npy", "-o", "y.npz", "--k", "7"]) == 0
    assert zipfile.ZipFile("y.npz").testzip() is None
    with open("x.npy", "wb") as other:
        np.lib.format.write_array(other, x, version=(2, 0))
        other.write(b"more")  # as numpy.load ignores it, too
    assert main(["softmax", "x.npy", "-o", "y.npy", "--force"]) == 0
    assert_same_bits(np.load("y.npy"), softlane.softmax(x))


def test_options(folder, small_blocks):
    x = random((300, 10), np.float32)
    saved("x.npy", x)
    for command in [*LIKE_X, "logsumexp", "entropy"]:
        options = ["--dtype", "float64", "--temperature", "0.7", "--threads", "2", "--force"]
        assert main([command, "x.npy", "-o", "y.npy", *options]) == 0
        assert_same_bits(np.load("y.npy"), expected(command, x, -1, dtype="float64", temperature=0.7))


def test_threads(folder, on_call):
    found = []
    on_call("softmax", lambda number: found.append(softlane.get_num_threads()))
    for options in ["--threads", "3"], []:
        assert main(["softmax", saved("x.npy", np.zeros((3, 4))), "-o", "y.npy", "--force", *options]) == 0
    assert found == [3, 1]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (2, 0, 3)])
def test_without_elements(shape, folder):
    x = np.empty(shape, np.float32)
    for command in *LIKE_X, "logsumexp", "entropy":
        for axis in range(x.ndim):
            assert main([command, saved("x.npy", x), "-o", "y.npy", "--force", "--axis", str(axis)]) == 0
            assert_same_bits(np.load("y.npy"), expected(command, x, axis))


def test_a_file_that_gives_few_bytes_at_a_time():
    class Slow(io.BytesIO):
        def readinto(self, memory):
            return super().readinto(memory[:7])

    x = random((3, 4, 5), np.float32)
    planes = _files.Planes(Slow(x.tobytes()), x.dtype, 4, 5)
    assert_same_bits(planes.read(_files.Block(1, 3, 0, 5)), x[1:3])
    assert_same_bits(planes.read(_files.Block(1, 2, 2, 4)), x[1:2, :, 2:4])


def test_blocks_cover_every_row_once():
    for outer, inner, row_bytes in [(7, 1, 400), (3, 5, 100), (2, 1000, 90), (1, 31, 10**9), (4, 33, 10**7), (3, 0, 8)]:
        seen = np.zeros((outer, inner), int)
        for block in _files.blocks(outer, inner, row_bytes * 10**5):
            seen[block.first : block.last, block.left : block.right] += 1
            assert block.right - block.left >= min(inner, _files.COLUMNS)
        assert (seen == 1).all()


# ---- Refusals: inputs ----


def write(name, data):
    with open(name, "wb") as file:
        file.write(data)


def bytes_of(x):
    file = io.BytesIO()
    np.save(file, x)
    return file.getvalue()


GOOD = bytes_of(np.zeros((300, 10), np.float32))
BAD_BYTES = {
    "x.npy is not an .npy file": b"hello, world",
    "x.npy is not an .npy file ": b"",
    "x.npy is truncated: it has 872 bytes of data, expected 12000": GOOD[:1000],
    "x.npy has no header that can be read: it is damaged or truncated": GOOD[:50],
    "x.npy has no header that can be read: it is damaged or truncated ": GOOD.replace(b"(300, 10)", b"(-30, 10)"),
    "x.npy has no header that can be read: it is damaged or truncated  ": GOOD.replace(b"(300, 10)", b"((((((((("),
    "x.npy has no header that can be read: it is damaged or truncated   ": b"\x93NUMPY\x09" + GOOD[7:],
    "x.npy has no header that can be read: it is damaged or truncated    ": b"\x93NUMPY",
}


@pytest.mark.parametrize(("message", "data"), BAD_BYTES.items())
def test_files_that_are_no_arrays(message, data, folder, capsys):
    write("x.npy", data)
    assert refused(capsys, "softmax", "x.npy", "-o", "y.npy") == f"softlane softmax: {message.strip()}\n"


BAD_ARRAYS = {
    "x.npy holds Python objects (a pickle), which are never loaded": np.array([1, None]),
    "x.npy has dtype |V2, as NumPy saves bfloat16: save x.astype(numpy.float32)": np.zeros(3, "V2"),
    "x.npy has dtype complex64; supported are float32, ": np.zeros(3, np.complex64),
    "x.npy has dtype <U3; supported are ": np.array(["abc"]),
    "x.npy has dtype [('a', '<f4')]; supported are ": np.zeros(3, [("a", "f4")]),
    "x.npy is in Fortran order: save numpy.ascontiguousarray(x)": np.zeros((3, 4)).T,
    "x.npy is 0-dimensional, expected an array with a class axis": np.float32(1),
}


@pytest.mark.parametrize(("message", "x"), BAD_ARRAYS.items())
@pytest.mark.parametrize("command", ["softmax", "argmax"])
def test_arrays_that_are_refused(command, message, x, folder, capsys):
    assert f": {message}" in refused(capsys, command, saved("x.npy", x), "-o", "y.npy")


def test_a_pickle_is_not_run(folder, capsys):
    class Attack:
        def __reduce__(self):
            return os.mkdir, ("attacked",)

    saved("x.npy", np.array([Attack()], object))
    refused(capsys, "softmax", "x.npy", "-o", "y.npy")


def test_inputs_that_are_no_files(folder, capsys):
    def message(path):
        return refused(capsys, "softmax", path, "-o", "y.npy").removeprefix("softlane softmax: ").strip()

    assert message("none.npy") == "none.npy cannot be read: No such file or directory"
    assert message(".") == ". is not a regular file"
    np.savez("x.npz", x=np.zeros(3))
    assert message("x.npz") == "x.npz is an .npz archive: save one of its arrays with numpy.save"
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.npy")
        assert message("pipe.npy") == "pipe.npy is not a regular file"


@on_posix
def test_permissions(folder):
    """Root, who may read and write everything, becomes another user first."""
    code = "import locale, os, sys\nfrom softlane.__main__ import main\nos.geteuid() or os.setuid(65534)\n"
    code += "print(main(['softmax', sys.argv[1], '-o', sys.argv[2]]))"
    for name in "x.npy", "closed.npy":
        saved(name, np.zeros((3, 4)))
    os.chmod("closed.npy", 0)
    os.mkdir("closed")
    os.chmod("closed", 0o555)
    os.chmod(folder, 0o755)
    for x, out, words in [
        ("closed.npy", "y.npy", "closed.npy cannot be read: Permission denied"),
        ("x.npy", "closed/y.npy", "closed/y.npy cannot be written: Permission denied"),
    ]:
        done = subprocess.run([sys.executable, "-c", code, x, out], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("1\n", f"softlane softmax: {words}\n")


def test_arguments_that_do_not_fit_the_array(folder, capsys):
    x = saved("x.npy", np.zeros((3, 4), np.float32))
    assert "axis 2 is out of bounds for array of dimension 2" in refused(
        capsys, "softmax", x, "-o", "y.npy", "--axis", 2
    )
    assert "axis -3 is out of bounds" in refused(capsys, "argmax", x, "-o", "y.npy", "--axis", -3)
    for t in ("0.0", "-1.0", "nan", "inf"):
        said = refused(capsys, "entropy", x, "-o", "y.npy", "--temperature", t)
        assert said.startswith(f"softlane entropy: temperature is {t}, expected positive, finite numbers")
    said = refused(capsys, "softmax", x, "-o", "y.npy", "--threads", 0)
    assert "n must be between 1 and 1024, got 0" in said
    for k in (5, -1):
        said = refused(capsys, "topk", x, "-o", "y.npz", "--k", k)
        assert said == f"softlane topk: k is {k}, expected 0 to 4, the number of classes\n"
    saved(x, np.zeros((3, 0, 2)))
    said = refused(capsys, "argmax", x, "-o", "y.npy", "--axis", 1)
    assert said == "softlane argmax: x.npy has shape (3, 0, 2), without a class along axis 1\n"


def test_targets_that_are_refused(folder, capsys, small_blocks):
    def message(target):
        said = refused(capsys, "cross-entropy", "x.npy", saved("t.npy", target), "-o", "y.npy", "--axis", 1)
        return said.removeprefix("softlane cross-entropy: ").strip()

    x, right = np.zeros((200, 10, 3), np.float32), np.zeros((200, 3), int)
    saved("x.npy", x)
    assert (
        message(np.zeros((200, 2), int)) == "t.npy has shape (200, 2), expected (200, 3), a class for each row of x.npy"
    )
    assert message(x) == "t.npy has dtype float32, expected class indices, which are integers"
    for wrong in (10, -1, -101):
        right[150, 2] = wrong
        assert message(right) == f"t.npy: target[150, 2] = {wrong} is outside [0, 10); ignore_index is -100"
    right = np.zeros((200, 3), np.uint64)
    right[0, 1] = 2**63 + 5
    assert message(right) == "t.npy: target[0, 1] = 9223372036854775813 is outside [0, 10); ignore_index is -100"
    said = refused(capsys, "cross-entropy", "x.npy", "none.npy", "-o", "y.npy")
    assert said == "softlane cross-entropy: none.npy cannot be read: No such file or directory\n"


def test_an_input_that_becomes_shorter(folder, small_blocks, on_call, capsys):
    x = saved("x.npy", np.zeros((300, 10)))
    on_call("softmax", lambda number: os.truncate("x.npy", 5000) if number == 2 else None)
    assert main(["softmax", x, "-o", "y.npy"]) == 1
    assert capsys.readouterr().err == "softlane softmax: x.npy cannot be read: the file has become shorter\n"
    assert os.listdir() == ["x.npy"]


# ---- Refusals: outputs ----


def test_outputs_that_are_refused(folder, capsys):
    x = saved("x.npy", np.zeros((3, 4)))

    def message(out, *options):
        return refused(capsys, "softmax", x, "-o", out, *options).removeprefix("softlane softmax: ").strip()

    saved("y.npy", np.zeros(1))
    assert message("y.npy") == "y.npy exists: --force replaces it"
    assert message("none/y.npy") == "none/y.npy cannot be written: its directory does not exist"
    os.mkdir("folder.npy")
    assert message("folder.npy", "--force") == "folder.npy is not a regular file"
    os.link("x.npy", "hard.npy")
    os.symlink("x.npy", "soft.npy")
    for same in "x.npy", "./x.npy", "hard.npy", "soft.npy":
        assert message(same, "--force") == f"{same} is the same file as the input x.npy, expected another name"
    if os.path.exists("/dev/null"):
        os.symlink("/dev/null", "null.npy")
        assert message("null.npy", "--force") == "null.npy is not a regular file"
    saved("t.npy", np.zeros(3, int))
    said = refused(capsys, "cross-entropy", x, "t.npy", "-o", "t.npy", "--force")
    assert "t.npy is the same file as the input t.npy" in said


@pytest.mark.parametrize("links", [True, False])
def test_an_output_that_appears_meanwhile_is_kept(links, folder, on_call, capsys, monkeypatch):
    def no_link(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_link)
    x = saved("x.npy", np.zeros((3, 4)))
    assert main(["softmax", x, "-o", "first.npy"]) == 0
    assert_same_bits(np.load("first.npy"), np.full((3, 4), 0.25))
    capsys.readouterr()
    on_call("softmax", lambda number: write("y.npy", b"theirs"))
    assert main(["softmax", x, "-o", "y.npy"]) == 1
    assert capsys.readouterr().err == "softlane softmax: y.npy exists: --force replaces it\n"
    assert (folder / "y.npy").read_bytes() == b"theirs"
    assert sorted(os.listdir()) == ["first.npy", "x.npy", "y.npy"]


def test_refused_before_anything_is_computed(folder, on_call, capsys):
    calls = on_call("softmax", lambda number: None)
    x = saved("x.npy", np.zeros((3, 4)))
    assert main(["softmax", x, "-o", saved("y.npy", x)]) == 1 and not calls
    assert main(["softmax", x, "-o", "y.npy", "--force"]) == 0 and len(calls) == 1


def test_force_replaces_at_the_end(folder, on_call):
    x = saved("x.npy", np.zeros((3, 4)))
    write("y.npy", b"old")
    os.symlink("y.npy", "link.npy")
    seen = []
    on_call("softmax", lambda number: seen.append((folder / "y.npy").read_bytes()))
    assert main(["softmax", x, "-o", "link.npy", "--force"]) == 0
    assert seen == [b"old"] and os.path.islink("link.npy")
    assert_same_bits(np.load("y.npy"), np.full((3, 4), 0.25))
    assert sorted(os.listdir()) == ["link.npy", "x.npy", "y.npy"]


@on_posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_a_new_file(umask, mode, folder):
    before = os.umask(umask)
    try:
        assert main(["softmax", saved("x.npy", np.zeros((3, 4))), "-o", "y.npy"]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("y.npy").st_mode) == mode


# ---- Nothing is lost: full disks, signals ----

CHILD = """
import os, resource, signal, sys
import softlane
from softlane import _files
from softlane.__main__ import main
_files.BLOCK = 1500
right, calls = softlane.{function}, []
def stop(x, *args, **options):
    calls.append(bool([name for name in os.listdir() if name.endswith(".tmp")]))
    if len(calls) == 5:
        {act}
    return right(x, *args, **options)
softlane.{function} = stop
status = main(sys.argv[1:])
print(len(calls), calls[-1])
sys.exit(status)
"""


DEFAULT_SIGNALS = """
import signal
for number in (signal.SIGTERM, signal.SIGHUP):  # what runs the tests, such as nohup, may ignore them
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


def child(command, act, *arguments):
    code = (DEFAULT_SIGNALS if os.name == "posix" else "") + CHILD.format(function=command, act=act)
    return subprocess.run([sys.executable, "-c", code, command, *arguments], capture_output=True, text=True, timeout=60)


def prepared(command, force):
    """x.npy, and where it is to be replaced an old output; the name of that, and the options of the command"""
    saved("x.npy", random((3000, 10), np.float32))
    out = "y.npz" if command == "topk" else "y.npy"
    if force:
        write(out, b"old")
    return out, ["--k", "2"] * (command == "topk") + ["--force"] * force


@on_posix
@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("command", ["softmax", "topk"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupt_leaves_nothing(name, command, force, folder):
    out, options = prepared(command, force)
    done = child(command, f"os.kill(os.getpid(), signal.{name})", "x.npy", "-o", out, *options)
    assert done.returncode == 130 and done.stderr == f"softlane {command}: interrupted\n"
    assert done.stdout == "5 True\n"  # in the middle, with a temporary file
    assert sorted(os.listdir()) == ["x.npy"] + [out] * force
    assert not force or (folder / out).read_bytes() == b"old"


@on_posix
def test_a_second_signal_does_not_stop_the_cleaning_up(folder):
    saved("x.npy", random((3000, 10), np.float32))
    act = "os.unlink = lambda path, unlink=os.unlink: (signal.raise_signal(signal.SIGINT), unlink(path)); "
    act += "signal.raise_signal(signal.SIGTERM)"
    done = child("softmax", act, "x.npy", "-o", "y.npy")
    assert done.returncode == 130 and os.listdir() == ["x.npy"]


@on_posix
def test_a_signal_that_is_ignored_stays_ignored(folder):
    saved("x.npy", random((3000, 10), np.float32))
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + CHILD
    code = code.format(function="softmax", act="os.kill(os.getpid(), signal.SIGHUP)")
    done = subprocess.run([sys.executable, "-c", code, "softmax", "x.npy", "-o", "y.npy"], timeout=60, check=True)
    assert done.returncode == 0 and os.path.exists("y.npy")


def test_a_signal_after_the_last_step_is_too_late(folder, monkeypatch):
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (replace(*paths), signal.raise_signal(signal.SIGINT)))
    assert main(["softmax", saved("x.npy", np.zeros((3, 4))), "-o", "y.npy", "--force"]) == 0
    assert_same_bits(np.load("y.npy"), np.full((3, 4), 0.25))


def test_the_signals_of_the_process_come_back(folder):
    before = [signal.getsignal(number) for number in _files.SIGNALS]
    assert main(["softmax", saved("x.npy", np.zeros((3, 4))), "-o", "y.npy"]) == 0
    assert [signal.getsignal(number) for number in _files.SIGNALS] == before


@on_posix
@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("command", ["softmax", "topk"])
@pytest.mark.parametrize("limit", [10, 30_000, 60_000])
def test_a_full_disk_leaves_nothing(limit, command, force, folder):
    """By the limit of file sizes: at a header, in the middle, and for topk when both arrays go into the archive"""
    out, options = prepared(command, force)
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    code += "from softlane.__main__ import main; sys.exit(main(sys.argv[1:]))"
    command_line = [sys.executable, "-B", "-c", code, command, "x.npy", "-o", out, *options]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=60)
    assert done.stderr == f"softlane {command}: {out} cannot be written: File too large\n"
    assert done.returncode == 1 and not done.stdout
    assert sorted(os.listdir()) == ["x.npy"] + [out] * force
    assert not force or (folder / out).read_bytes() == b"old"


def test_an_error_of_the_last_step_leaves_nothing(folder, monkeypatch, capsys):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert main(["softmax", saved("x.npy", np.zeros((3, 4))), "-o", "y.npy"]) == 1
    assert capsys.readouterr().err == "softlane softmax: y.npy cannot be written: Input/output error\n"
    assert os.listdir() == ["x.npy"]


# ---- What is printed ----


def test_report(folder, capsys):
    x = saved("x.npy", np.zeros((3, 4, 5), np.float16))
    assert main(["logsumexp", x, "-o", "y.npy", "--axis", "0", "--dtype", "float32", "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    seconds, rate = report.pop("seconds"), report.pop("bytes_per_second")
    assert seconds > 0 and math.isclose(rate, 120 / seconds)
    assert report == {
        "command": "logsumexp", "input": "x.npy", "shape": [3, 4, 5], "dtype": "float16", "rows": 20,
        "output": "y.npy", "output_shape": [4, 5], "output_dtype": "float32",
    }  # fmt: skip
    assert re.fullmatch(r"y\.npy: float32, shape \(4, 5\); read 120 bytes in [\d.e-]+ s, [\d.]+ \w+/s\n", err)
    assert main(["softmax", x, "-o", "z.npy", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_lines_of_progress(folder, small_blocks, monkeypatch, capsys):
    monkeypatch.setattr(_cli, "SECONDS", 0)
    x = saved("x.npy", np.zeros((300, 10)))
    assert main(["softmax", x, "-o", "y.npy"]) == 0
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) > 10 and last.startswith("y.npy: ")
    assert all(re.fullmatch(r"\d+% of 24 kB, [\d.]+ \w+/s, \d+ s left", line) for line in lines)
    assert lines[-1].startswith("100% ") and lines[-1].endswith(" 0 s left")
    monkeypatch.setattr(_cli, "SECONDS", 1000)
    assert main(["softmax", x, "-o", "y.npy", "--force"]) == 0
    assert capsys.readouterr().err.count("\n") == 1


@on_posix
@pytest.mark.parametrize("has_rich", [True, False])
def test_progress_on_a_terminal(has_rich, folder):
    if has_rich and importlib.util.find_spec("rich") is None:
        pytest.skip("rich is not installed")
    saved("x.npy", np.zeros((3000, 10)))
    code = f"import sys; sys.modules.update({{}} if {has_rich} else {{'rich.progress': None}})\n"
    code += (
        "from softlane import _cli\nfrom softlane.__main__ import main\n_cli.SECONDS = 0\nsys.exit(main(sys.argv[1:]))"
    )
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", code, "softmax", "x.npy", "-o", "y.npy"]
    assert subprocess.run(command, stderr=theirs, env=environment, timeout=60).returncode == 0
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "100%" in shown and "/s" in shown and "y.npy: float64" in shown
    assert ("\x1b[" in shown) is has_rich and ("240 kB" in shown.split("y.npy")[0]) is not has_rich


@on_posix
def test_a_standard_output_that_is_closed(folder):
    saved("x.npy", np.zeros((3, 4)))
    read, write_end = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "softlane", "softmax", "x.npy", "-o", "y.npy", "--json", "--quiet"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write_end)
    assert done.returncode == 1 and done.stderr == "softlane softmax: [Errno 32] Broken pipe\n"
    assert os.path.exists("y.npy")


def test_usage(folder, capsys):
    x = saved("x.npy", np.zeros((3, 4)))
    for arguments, words in [
        (["softmax", x], "the following arguments are required: -o/--output"),
        (["softmax", "-o", "y.npy"], "the following arguments are required: INPUT.npy"),
        (["cross-entropy", x, "-o", "y.npy"], "the following arguments are required: TARGETS.npy"),
        (["topk", x, "-o", "y.npz"], "the following arguments are required: --k"),
        (["topk", x, "-o", "y.npy", "--k", "1"], "-o y.npy: expected a name that ends in .npz"),
        (["softmax", x, "-o", "y.npz"], "-o y.npz: expected a name that ends in .npy"),
        (["softmax", x, "-o", "y.npy", "--temperature", "warm"], "invalid float value: 'warm'"),
        (["softmax", x, "-o", "y.npy", "--axis", "last"], "invalid int value: 'last'"),
        (["softmax", x, "-o", "y.npy", "--dtype", "bfloat16"], "invalid choice: 'bfloat16'"),
        (["sofmax", x, "-o", "y.npy"], "invalid choice: 'sofmax'"),
        (["argmax", x, "-o", "y.npy", "--temperature", "2"], "argmax: error: unrecognized arguments: --temperature 2"),
        (["softmax", x, x, "-o", "y.npy"], "softlane softmax: error: unrecognized arguments: x.npy"),
        (["softmax", x, "-o", "y.npy", "--temp", "2"], "unrecognized arguments: --temp 2"),
    ]:
        err = refused(capsys, *arguments, status=2)
        assert err.startswith("usage: softlane") and words in err.splitlines()[-1]


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        main([])
    out, err = capsys.readouterr()
    assert done.value.code == 2 and not out
    assert re.findall(r"^    (\S+)", err, re.MULTILINE) == ["check", *FUNCTIONS]
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0 and capsys.readouterr().out == err
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"softlane {softlane.__version__}\n"


@pytest.mark.parametrize("command", ["check", *FUNCTIONS])
def test_help_of_a_command_has_an_example_that_runs(command, capsys, folder):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert done.value.code == 0
    example = re.search(r"Example: softlane (.*)", text)[1].split()
    assert example[0] == command
    if command != "check":  # which test_check.py runs
        shape = (2, 6, 3) if "maps.npy" in example else (20, 6)
        saved(example[1], random(shape, np.float32))
        saved("labels.npy", np.arange(20) % 6)
        assert main(example) == 0 and os.path.exists(example[example.index("-o") + 1])


# ---- Memory, imports ----


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of the memory is read from Linux")
@pytest.mark.parametrize(("shape", "axis"), [((400_000, 100), 1), ((100, 400_000), 0)])
def test_memory_is_constant(shape, axis, folder):
    """160 MB with a hole where the numbers are, which takes no room on the disk"""
    with open("x.npy", "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * math.prod(shape))
    peak = "int(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]) * 1024"
    code = f"import re, numpy; before = {peak}\nfrom softlane.__main__ import main\n"
    for command in "softmax", "argmax":
        call = [command, "x.npy", "-o", f"{command}.npy", "--axis", str(axis), "--quiet"]
        assert int(printed(f"{code}assert main({call}) == 0\nprint({peak} - before)")) < 64e6
    assert (np.load("softmax.npy", mmap_mode="r")[:: shape[0] // 2] == np.float32(0.01)).all()


def test_import_softlane_leaves_the_command_line_alone():
    code = (
        "import sys, softlane; print([m for m in sys.modules if m in ('argparse', 'softlane._cli', 'softlane._files')])"
    )
    assert printed(code) == "[]"


# ---- what a reviewer broke ---------------------------------------------------------------------------------------


@on_posix
@pytest.mark.parametrize("closed", ("2>&-", ">&-"))
def test_a_closed_standard_stream(folder, closed):
    np.save("x.npy", random((4, 5), np.float32))
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m softlane softmax x.npy -o y.npy {closed}'],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "Error" not in done.stderr + done.stdout
    assert_same_bits(np.load("y.npy"), softlane.softmax(np.load("x.npy")))


def test_a_clock_that_stands_still(folder, monkeypatch):
    np.save("x.npy", random((4, 5), np.float32))
    monkeypatch.setattr(_cli.time, "monotonic", lambda: 1.0)
    assert main(["softmax", "x.npy", "-o", "y.npy", "--json"]) == 0


def test_the_mean_is_of_losses_that_float16_has_no_numbers_for(folder, capsys):
    x = np.float32([[1e5, 0], [0, 0]])
    np.save("x.npy", x)
    np.save("t.npy", [1, 0])
    assert main(["cross-entropy", "x.npy", "t.npy", "-o", "y.npy", "--dtype", "float16", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["mean"] == pytest.approx(5e4 + math.log(2) / 2)
    with np.errstate(over="ignore"):
        assert_same_bits(np.load("y.npy"), softlane.cross_entropy(x, [1, 0], reduction="none").astype(np.float16))


@on_posix
def test_force_keeps_the_permissions(folder):
    np.save("x.npy", random((4, 5), np.float32))
    Path("y.npy").write_bytes(b"")
    os.chmod("y.npy", 0o600)
    assert main(["softmax", "x.npy", "-o", "y.npy", "--force", "--quiet"]) == 0
    assert stat.S_IMODE(os.stat("y.npy").st_mode) == 0o600


@pytest.mark.parametrize("axis", ("0", "1"))
def test_no_elements(folder, axis, capsys):
    np.save("x.npy", np.zeros((0, 9_000_000), np.float32))
    assert main(["softmax", "x.npy", "-o", "y.npy", "--axis", axis, "--quiet"]) == 0, capsys.readouterr().err
    assert np.load("y.npy").shape == (0, 9_000_000)
