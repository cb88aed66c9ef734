"""Build the one extension module. Everything else about the package is in pyproject.toml.

SOFTLANE_THREADS chooses how calls use several threads: pool (the default: threads of its own, csrc/pool.c), openmp, or
none. No flag depends on the processor of the build machine.
"""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# C11 atomics of MSVC need Visual Studio 2022 17.5 and these two options.
PLAIN_FLAGS = {
    "msvc": ["/O2", "/fp:precise", "/std:c11", "/experimental:c11atomics"],
    "unix": ["-std=c11", "-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra"],
}  # -g0: a tenth of the size
THREAD_FLAGS = {
    "msvc": {"pool": [], "openmp": ["/openmp", "/DSL_THREADS_OPENMP"], "none": ["/DSL_THREADS_NONE"]},
    "unix": {"pool": ["-pthread"], "openmp": ["-fopenmp", "-DSL_THREADS_OPENMP"], "none": ["-DSL_THREADS_NONE"]},
}
THREADS = os.environ.get("SOFTLANE_THREADS") or "pool"
if THREADS not in THREAD_FLAGS["unix"]:
    sys.exit(f"SOFTLANE_THREADS={THREADS!r}: expected pool, openmp or none")


def family_of(compiler):
    """gcc, clang (under any name), or None, from the macros that the compiler defines"""
    command = [*compiler.compiler, "-dM", "-E", "-x", "c", os.devnull]
    try:
        macros = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:  # there is no compiler: that is said when it is to compile
        return None
    if "__clang__" in macros:
        return "clang"
    others = "__INTEL_COMPILER", "__NVCOMPILER"
    return "gcc" if "__GNUC__" in macros and not any(name in macros for name in others) else None


def smaller(source, family):
    """Options for what -O3 makes large without making it faster where it matters.

    Kernels by Clang are as fast with -O2 and with loops at any address. GCC would compile some functions for each
    constant that a caller passes, split loops that hold a condition, and align every target of a jump. Its functions
    begin with a cache line, so that a change of one makes no other slower (by up to 1.2 times). On x86-64, the portable
    path is for processors of before 2013 alone. Kernels call nothing that could end a thread or throw, so that only
    debuggers would unwind them.
    """
    if "_core" in source:
        return ["-O2"]
    if "isa" not in source:
        return []
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if is_x86 and "portable" in source:
        level = ["-Oz", "-fno-inline-functions"] if family == "clang" else ["-Os"]
    elif family == "clang":
        level = ["-O2", "-falign-loops=1"]
    else:
        level = ["-fno-ipa-cp-clone", "-fno-split-loops", "-falign-functions=64", "-falign-jumps=1", "-falign-labels=1"]
    return [*level, "-fno-asynchronous-unwind-tables"]


class BuildExt(build_ext):
    def build_extensions(self):
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        flags = THREAD_FLAGS[kind][THREADS]
        for extension in self.extensions:
            extension.extra_compile_args = PLAIN_FLAGS[kind] + flags
            extension.extra_link_args = flags if kind == "unix" else []
        self.compile_in_parallel(family_of(self.compiler) if kind == "unix" else None)
        super().build_extensions()

    def compile_in_parallel(self, family):
        """The sources of one extension, several at a time: setuptools compiles them one after the other."""
        compile_all = self.compiler.compile

        def compile_each(sources, *args, **kwargs):
            def compile_one(source):
                options = dict(kwargs)
                if family:
                    options["extra_postargs"] = kwargs["extra_postargs"] + smaller(source, family)
                return compile_all([source], *args, **options)

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                return [name for names in pool.map(compile_one, sources) for name in names]

        self.compiler.compile = compile_each


setup(
    ext_modules=[
        Extension(
            "softlane._core",
            sources=["src/softlane/_core.pyx", *sorted(glob("csrc/*.c") + glob("csrc/isa/*.c"))],
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            libraries=["synchronization"] if os.name == "nt" else ["m"],
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
