"""Build the one extension module. Everything else about the package is in pyproject.toml.

SOFTLANE_OPENMP=auto (the default) uses OpenMP where a test program links, and says so loudly where it does not;
1 makes its absence an error, 0 builds without threads. No flag depends on the processor of the build machine.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OPENMP_FLAGS = {"msvc": ([["/openmp"], []]), "unix": ([["-fopenmp"], ["-fopenmp"]])}
PLAIN_FLAGS = {
    "msvc": ["/O2", "/fp:precise"],
    "unix": ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-Wall", "-Wextra"],
}  # -g0: a tenth of the size


class BuildExt(build_ext):
    def build_extensions(self):
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        compile_flags, link_flags = self.openmp_flags(OPENMP_FLAGS[kind])
        for extension in self.extensions:
            extension.extra_compile_args = PLAIN_FLAGS[kind] + compile_flags
            extension.extra_link_args = link_flags
        self.compile_in_parallel()
        super().build_extensions()

    def compile_in_parallel(self):
        """The sources of one extension, several at a time: setuptools compiles them one after the other."""
        compile_all = self.compiler.compile

        def compile_each(sources, *args, **kwargs):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_all([source], *args, **kwargs), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_each

    def openmp_flags(self, flags):
        choice = os.environ.get("SOFTLANE_OPENMP", "auto")
        if choice not in ("0", "1", "auto"):
            sys.exit(f"SOFTLANE_OPENMP={choice!r}: expected 0, 1 or auto")
        if choice == "0":
            return [], []
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
            try:
                objects = self.compiler.compile([str(source)], output_dir=folder, extra_postargs=flags[0])
                self.compiler.link_executable(objects, str(Path(folder, "probe")), extra_postargs=flags[1])
                return flags
            except Exception as error:
                if choice == "1":
                    sys.exit(f"SOFTLANE_OPENMP=1, but no program with OpenMP could be built: {error}")
        line = "*" * 100
        print(f"{line}\nsoftlane: this compiler has no OpenMP. Building WITHOUT THREADS.\n{line}", file=sys.stderr)
        return [], []


setup(
    ext_modules=[
        Extension(
            "softlane._core",
            sources=["src/softlane/_core.pyx", *sorted(glob("csrc/*.c") + glob("csrc/isa/*.c"))],
            depends=sorted(glob("csrc/**/*.h", recursive=True)),
            include_dirs=["csrc", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            libraries=[] if os.name == "nt" else ["m"],
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
