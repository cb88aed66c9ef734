"""What fuzz.py calls beside functions of arrays: softlane.stream, and the command with its files."""

import contextlib
import functools
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import ops
import reference
import reference_selection
from cases import STORED, assert_same_bits
from fuzz_arrays import MEMORY, VALUES, laid_out, random_shape, random_values, source_of
from fuzz_calls import AS_GIVEN, HEADER, Mistake, check_nan, parts, plain_settings, settings
from loss_cases import assert_within

import softlane
from softlane import _core, _files
from softlane.__main__ import main as command

# ---- summaries of parts ----------------------------------------------------------------------------------------------


class StreamCall:
    """Blocks of the classes of rows, summarised and merged in any order; the results of all of them."""

    function = "stream"

    def __init__(self, r, g):
        self.isa, self.threads = r.choice(_core.available_isas()), r.choice((1, 2))
        self.way = r.choice((AS_GIVEN, ("checked", 0), ("chunks", r.choice((8, 100)))))
        shape, axis = random_shape(r)
        shape = tuple([max(1, n) if i == axis % len(shape) else n for i, n in enumerate(shape)])
        self.axis = axis % len(shape)
        n = shape[self.axis]
        x = random_values(g, r.choice(VALUES[:-1]), shape, r.choice((*STORED, np.dtype("i1"), np.dtype("i8"))))
        batch = np.delete(shape, self.axis)
        self.x, self.k, self.entropy = x, r.choice((0, 1, 3, n + 2)), r.random() < 0.5
        self.t = r.choice((None, None, 0.7, 1e-9, g.uniform(0.3, 3, batch)))
        self.where = g.random(shape) < 0.8 if r.random() < 0.3 else None
        self.target = g.integers(0, n, batch)
        self.edges = sorted({0, n, *(r.randrange(n + 1) for _ in range(r.choice((0, 1, 2, 4))))})
        self.order = r.sample(range(len(self.edges) - 1), len(self.edges) - 1)
        self.layouts = [laid_out(r, f"x{i}", self.part(x, i)) for i in self.order]

    def source(self):
        lines = [*HEADER, *(line for a in self.layouts for line in a.lines())]
        t = source_of(self.t) if isinstance(self.t, np.ndarray) else self.t
        lines += [f"target, t, parts = {source_of(self.target)}, {t}, []"]
        for i in self.order:
            where = None if self.where is None else source_of(np.ascontiguousarray(self.part(self.where, i)))
            options = f"target=target, k={self.k}, entropy={self.entropy}, where={where}, temperature=t"
            block = f"x{i}, {self.axis}, first_class={self.edges[i]}"
            lines += [f"parts.append(softlane.stream.summarize({block}, {options}))"]
        lines += ["whole = parts[0]", "for part in parts[1:]:", "    whole |= part"]
        lines += ["print(whole.logsumexp(), whole.target_log_prob(), whole.cross_entropy('none'))"]
        return "\n".join([*lines, f"print(whole.softmax(x{self.order[0]}), whole.log_softmax(x{self.order[0]}))"])

    def part(self, a, i):
        return a[(slice(None),) * self.axis + (slice(*self.edges[i : i + 2]),)]

    def summaries(self, blocks):
        for i, x in zip(self.order, blocks, strict=True):
            where = None if self.where is None else self.part(self.where, i)
            yield softlane.stream.summarize(
                x, self.axis, first_class=self.edges[i], target=self.target, k=self.k, entropy=self.entropy,
                where=where, temperature=self.t,
            )  # fmt: skip

    def results(self, blocks):
        whole = functools.reduce(lambda a, b: a | b, self.summaries(blocks))
        i, x = self.order[0], blocks[0]
        where = None if self.where is None else self.part(self.where, i)
        found = [whole.logsumexp(), whole.target_log_prob(), whole.cross_entropy("none")]
        found += [whole.softmax(x, where=where), whole.log_softmax(x, where=where)]
        found += [whole.entropy()] if self.entropy else []
        return found + ([*whole.topk(), whole.argmax()] if self.k else [])

    def check(self, with_reference):
        with settings(self.isa, self.threads, self.way):
            got = self.results([a.view for a in self.layouts])
        for a in self.layouts:
            if a.bytes() != a.before:
                raise Mistake(f"{a.name} has changed")
        with plain_settings():
            expected = self.results([a.plain for a in self.layouts])
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a, b, "got, and from plain copies")
            check_nan(a)
        with plain_settings():
            self.order.reverse()
            self.layouts.reverse()
            other = self.results([a.plain for a in self.layouts])
        for a, b in zip(other[:3], expected[:3], strict=True):
            assert_same_bits(a, b, "merged in another order")
        if with_reference and (self.t is None or np.ndim(self.t) or self.t == 0.7):
            self.check_values(expected)

    def check_values(self, results):
        blocks = [self.layouts[self.order.index(i)].plain for i in range(len(self.order))]
        x = np.concatenate(blocks, self.axis) if blocks else self.x
        x = x.astype(np.float64 if reference.result_dtype(x.dtype) == np.float64 else np.float32)
        if len({b.dtype for b in blocks}) > 1:  # float64, with parts that are as accurate as float32
            return
        if x.dtype == np.float64 and self.t is not None and np.nanmax(np.abs(x), initial=0) > 30:
            return
        options = {"where": self.where, "temperature": self.t}
        call = {"x": x, "axis": self.axis, **options}
        exact = reference.exact("logsumexp", x, self.axis, **options)
        if x.size:
            assert_within(results[0], exact, np.nan_to_num(ops.ulps_of_the_maximum(exact, x.dtype, call)), "logsumexp")
            exact = reference_selection.exact_take_log_probs(x, self.target, self.axis, **options)
            assert_within(results[1], exact, ops.ulps(exact, x.dtype, call), "target_log_prob")


# ---- the command -----------------------------------------------------------------------------------------------------


def saved(a):
    with io.BytesIO() as file:
        np.save(file, a)
        return file.getvalue()


class FileCall:
    """A function of a file by the command, and of files whose bytes were changed."""

    function = "command"

    def __init__(self, r, g):
        shape, axis = random_shape(r)
        dtype = r.choice((*STORED[:3], *map(np.dtype, ("i1", "u8", "?", ">f4", "c8"))))
        x = random_values(g, "normal", shape, np.dtype("f4") if dtype.kind == "c" else dtype.newbyteorder("="))
        self.x = np.array(x.astype(dtype), order=r.choice("CCCCF"))
        self.name = r.choice(("softmax", "log-softmax", "logsumexp", "argmax", "entropy", "topk", "cross-entropy"))
        self.axis = r.choice((axis, axis, 9))
        self.block = r.choice((1, 100, 1500, 8 << 20))
        self.options = r.choice(([], ["--dtype", "float32"], ["--temperature", "0.5"], ["--temperature", "-1"]))
        self.options = [] if self.name == "argmax" else self.options
        self.options += ["--k", str(r.choice((0, 1, 3, 99)))] if self.name == "topk" else []
        self.target = g.integers(-1 if r.random() < 0.2 else 0, max(1, shape[axis]), np.delete(shape, axis))
        self.data = bytearray(saved(self.x))
        self.is_changed = r.random() < 0.6
        if self.is_changed:
            self.change(r)

    def change(self, r):
        """Fewer bytes, or others in the header"""
        if r.random() < 0.3:
            del self.data[r.randrange(len(self.data)) :]
            return
        for _ in range(r.choice((1, 1, 2, 5))):
            byte = r.choice((*b"\0\n '(),-09Lf\xff", r.randrange(256)))
            self.data[r.randrange(min(len(self.data), 128))] = byte

    @property
    def out(self):
        return "y.npz" if self.name == "topk" else "y.npy"

    @property
    def arguments(self):
        files = ["x.npy", "t.npy"] if self.name == "cross-entropy" else ["x.npy"]
        return [self.name, *files, "-o", self.out, "--axis", str(self.axis), *self.options]

    def source(self):
        lines = [*HEADER, "from pathlib import Path", "from softlane import _files"]
        lines += ["from softlane.__main__ import main"]
        for name, data in (("x", self.data), ("t", saved(self.target))):
            lines.append(f"Path('{name}.npy').write_bytes(bytes.fromhex({data.hex()!r}))")
        return "\n".join([*lines, f"_files.BLOCK = {self.block}", f"main({self.arguments})"])

    def check(self, with_reference):
        before = os.getcwd(), _files.BLOCK
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            os.chdir(folder)
            _files.BLOCK = self.block
            try:
                self.check_here()
            finally:
                os.chdir(before[0])
                _files.BLOCK = before[1]

    def check_here(self):
        Path("x.npy").write_bytes(self.data)
        Path("t.npy").write_bytes(saved(self.target))
        with contextlib.ExitStack() as stack:  # what is read either is an array, or is refused in one of these ways
            try:
                _files.Input("x.npy", "softmax", stack)
            except (_files.CommandError, TypeError):
                pass
            except Exception as error:
                raise Mistake(f"{type(error).__name__}: {error}") from error
        texts, out = (io.StringIO(), io.StringIO()), self.out
        with contextlib.redirect_stdout(texts[0]), contextlib.redirect_stderr(texts[1]):
            try:
                status = command(self.arguments)
            except SystemExit as done:
                status = done.code
        message = texts[1].getvalue()
        if (status == 0) != os.path.exists(out) or {*os.listdir()} - {"x.npy", "t.npy", out}:
            raise Mistake(f"status {status}, files {os.listdir()}: {message}")
        if status not in (0, 1, 2) or "Traceback" in message or (status == 1 and message.count("\n") != 1):
            raise Mistake(f"status {status}: {message!r}")
        if status == 1 and ("Error" in message or "Warning" in message or "report" in message):
            raise Mistake(f"status {status}: {message!r}")
        if self.is_changed:
            return
        if status == 0:
            self.check_result(out)
        elif self.is_right:
            raise Mistake(f"status {status}: {message!r}")

    @property
    def is_right(self):
        """Is there no reason why the command should fail?"""
        is_read = self.x.dtype.kind != "c" and self.x.flags.c_contiguous and self.x.size > 0
        return is_read and self.axis != 9 and "-1" not in self.options and self.name not in ("topk", "cross-entropy")

    def check_result(self, out):
        options = {"axis": self.axis}
        for key, value in zip(self.options[::2], self.options[1::2], strict=True):
            options[key[2:]] = {"dtype": str, "temperature": float, "k": int}[key[2:]](value)
        arguments = [self.target] if self.name == "cross-entropy" else []
        if arguments:
            options["reduction"] = "none"
        expected = getattr(softlane, self.name.replace("-", "_"))(self.x, *arguments, **options)
        with np.load(out) if self.name == "topk" else contextlib.nullcontext(np.load(out)) as found:
            got = [found["values"], found["indices"]] if self.name == "topk" else [found]
        for a, b in zip(got, parts(expected), strict=True):
            assert_same_bits(a, b, "file, and function")
