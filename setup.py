"""Build the one extension module. Everything else about the package is in pyproject.toml.

SOFTLANE_OPENMP=auto (the default) uses OpenMP where a test program links, and says so loudly where it does not;
1 makes its absence an error, 0 builds without threads. No flag depends on the processor of the build machine.
"""

import os
import sys
import tempfile
from glob import glob
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OPENMP_FLAGS = {"msvc": ([["/openmp"], []]), "unix": ([["-fopenmp"], ["-fopenmp"]])}
PLAIN_FLAGS = {"msvc": ["/O2", "/fp:precise"], "unix": ["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"]}


class BuildExt(build_ext):
    def build_extensions(self):
        kind = "msvc" if self.compiler.compiler_type == "msvc" else "unix"
        compile_flags, link_flags = self.openmp_flags(OPENMP_FLAGS[kind])
        for extension in self.extensions:
            extension.extra_compile_args = PLAIN_FLAGS[kind] + compile_flags
            extension.extra_link_args = link_flags
        super().build_extensions()

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
