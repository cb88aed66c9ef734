# Every target makes its own virtual environment and needs only Python 3 with its headers, a C compiler and make.
# `make neon` needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user (Debian's names) besides.

PYTHON ?= python3
SOURCES := $(wildcard csrc/*.[ch] src/softlane/*) setup.py pyproject.toml
C_FLAGS := -std=c11 -O2 -Wall -Wextra -Werror -ffp-contract=off -Icsrc
BITS := csrc/tools/bits.c $(wildcard csrc/*.c) -lm

.PHONY: help demo test stress bench lint neon clean

help:
	@echo "make demo    install into .venv and run python -m softlane"
	@echo "make test    install with the test extras and run the test suite"
	@echo "make stress  minutes of search for inaccurate results"
	@echo "make bench   benchmark against NumPy, SciPy, PyTorch, ONNX Runtime and JAX; writes bench/results/"
	@echo "make lint    ruff, cython-lint, clang-format, mypy"
	@echo "make neon    compare the bits of the AArch64 path, under qemu, with those of this processor"

define environment
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef

.venv/demo: $(SOURCES)
	$(call environment,.venv)
	.venv/bin/pip install --quiet --disable-pip-version-check ".[demo]"
	touch $@

.venv/test: $(SOURCES)
	$(call environment,.venv)
	@echo "Installing the test extras and compiling the kernels: some minutes"
	.venv/bin/pip install --disable-pip-version-check ".[demo,test]"
	touch $@

.venv-bench/bench: $(SOURCES)
	$(call environment,.venv-bench)
	.venv-bench/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-bench/bin/pip install --quiet --disable-pip-version-check ".[bench]"
	touch $@

.venv-lint/lint: pyproject.toml Makefile
	$(call environment,.venv-lint)
	.venv-lint/bin/pip install --quiet --disable-pip-version-check "ruff>=0.14" cython-lint clang-format==18.1.8 mypy numpy rich ml_dtypes
	touch $@

demo: .venv/demo
	.venv/bin/python -m softlane

# One process for each processor. Each computes with one thread, unless a test is about threads: those wait without
# spinning, since they share the processors.
test: .venv/test
	OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -n auto

stress: .venv/test
	SOFTLANE_STRESS=1 .venv/bin/python -m pytest tests/test_stress.py -m stress -s

bench: .venv-bench/bench
	.venv-bench/bin/python bench/bench.py

lint: .venv-lint/lint
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	PATH="$$PWD/.venv-lint/bin:$$PATH" .venv-lint/bin/cython-lint src/softlane/_core.pyx
	.venv-lint/bin/clang-format --dry-run --Werror csrc/*.[ch] csrc/tools/*.c
	.venv-lint/bin/mypy src/softlane

build/bits-here: $(SOURCES) csrc/tools/bits.c
	mkdir -p build
	$(CC) $(C_FLAGS) $(BITS) -o $@

build/bits-aarch64: $(SOURCES) csrc/tools/bits.c
	mkdir -p build
	aarch64-linux-gnu-gcc $(C_FLAGS) -static $(BITS) -o $@

neon: build/bits-here build/bits-aarch64
	build/bits-here | tee build/bits.txt
	qemu-aarch64 build/bits-aarch64 | tee -a build/bits.txt
	test $$(cut -d' ' -f2 build/bits.txt | sort -u | wc -l) = 1 && grep -q '^neon ' build/bits.txt
	@echo "all paths agree in every bit"

clean:
	rm -rf .venv .venv-bench .venv-lint build dist src/softlane.egg-info src/softlane/_core.c src/softlane/*.so
