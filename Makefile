# make demo     the video analysis, with local workers, or in batch jobs where there is a cluster
# make test     lint, then all tests that this machine can run, on the installed wheel; as root a part as a user, too
# make coverage which lines of the package the tests run: takes twice as long as the tests
# make lint     ruff, mypy, and who may import whom (import-linter)
# make bench    jobpool and its peers, side by side
# make notebook write examples/video_analysis.ipynb again, from the script beside it
# make clean    remove what the others made
#
# Each makes what it needs, from a fresh clone on. ARGS goes to the command:  make test ARGS="-k slurm"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

PYTHON ?= python3
ARGS ?=
# What root repeats as an ordinary user: where processes, files and the batch system are another user's. What objects
# become on their way is the same for all users.
OBJECTS := hash_seed map ordinary_objects pickling_faults random_numbers refused_objects same_name_again where_functions_live
USER_ARGS ?= tests/lab tests/behaviour tests/worker tests/pool tests/ui tests/test_home.py -m "not slow" -k "not fake" \
    $(OBJECTS:%=--ignore=tests/behaviour/test_%.py)

BIN := .venv/bin
READY := .venv/ready
PEERS := .venv-bench/ready
INSTALLED := build/installed/bin/python
SLURM := slurmctld slurmd slurm-client slurmdbd mariadb-server
SGE := gridengine-master gridengine-exec gridengine-client
# The real systems that this Debian has no packages of: their tests run in a Debian that does.
HTCONDOR := .ci/chroot --user htcondor htcondor -- python -m pytest --system=htcondor tests/behaviour tests/systems
OAR_PACKAGES := oar-server oar-server-pgsql oar-user oar-user-pgsql oar-node postgresql openssh-server openssh-client iproute2 procps
OAR := .ci/chroot oar $(OAR_PACKAGES) -- .ci/test-oar
BROWSER := chromium-headless-shell fonts-dejavu-core

.PHONY: help demo test test-user coverage lint bench notebook clean venv installed slurm sge browser containers cpython-tests

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(READY)
	@mkdir -p out
	$(BIN)/jobpool demo --output out/video_analysis.png $(ARGS)

test: slurm sge browser containers cpython-tests lint installed
	@. .ci/parts; \
	part "all tests, alone" $(INSTALLED) -m pytest $$ALONE $(ARGS); \
	part "all tests, side by side" $(INSTALLED) -m pytest $$SIDE_BY_SIDE $(ARGS); \
	if [ "$$(id -u)" = 0 ]; then beside "Grid Engine" $(INSTALLED) -m pytest --system=sge tests/behaviour tests/systems $(ARGS); else \
	    echo "SKIPPED, since this is not root: the tests on a real Grid Engine"; fi; \
	beside "HTCondor" $(HTCONDOR) $(ARGS); \
	beside "OAR" $(OAR) $(ARGS); \
	wait_for_those_beside; \
	if [ "$$(id -u)" = 0 ]; then part "a part as an ordinary user" .ci/as-user $(USER_ARGS) $(ARGS); else \
	    echo "SKIPPED, since this is not root: memory limits that bite (cgroups), and attempts as another user"; fi; \
	parts_end

test-user: slurm browser containers installed
	.ci/as-user $(USER_ARGS) $(ARGS)

# On the checkout. All takes twice as long, so that some tests fail: that changes few lines.  make coverage ARGS=tests/core
coverage: export COVERAGE_FILE := $(CURDIR)/build/coverage/data
coverage: export PYTHONPATH := $(CURDIR)/tests/measuring
coverage: slurm browser containers cpython-tests $(READY)
	@rm -rf build/coverage && mkdir -p build/coverage
	-@. .ci/parts; for kind in "$$ALONE" "$$SIDE_BY_SIDE"; do \
	    part "coverage, $$kind" $(BIN)/python -m coverage run -m pytest -o timeout=300 $$kind $(ARGS); done; parts_end
	$(BIN)/python -m coverage combine --quiet build/coverage
	$(BIN)/python -m coverage report

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	for file in tests/conftest.py tests/*/conftest.py; do $(BIN)/mypy --no-error-summary $$file; done
	$(BIN)/lint-imports

bench: $(PEERS)
	@shopt -s nullglob; for file in bench/[!_]*.py; do echo "== $$file"; .venv-bench/bin/python "$$file" $(ARGS); done

# The peers have an environment of their own: what they pin shall not decide what the tests run with.
$(PEERS): pyproject.toml
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/packages "python environments" python3-venv
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench-peers]' || \
	    echo "SKIPPED: some peers cannot be installed here; each script names those that it misses"
	@touch $@

notebook: $(READY)
	JOBPOOL_SCHEDULER=local $(BIN)/python examples/make_notebook.py
	$(BIN)/ruff format examples/video_analysis.ipynb

clean:
	rm -rf .venv .venv-bench build dist out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

venv: $(READY)

# A file, so that the environment is made again when pyproject.toml changes, and after an attempt that was cut off.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "jobpool needs Python 3.11 or newer, and $(PYTHON) is older or missing: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/packages "python environments" python3-venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# What users get is the wheel: tests run on it and not on the checkout, so that a file left out of it is noticed.
installed: $(READY)
	@rm -rf build/wheel build/installed
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	.ci/install-wheel build/installed

slurm:
	@.ci/packages "the tests on a real SLURM" $(SLURM)
	@.ci/packages "the tests of commands on another host" openssh-server openssh-client
	@if [ -e /dev/fuse ]; then .ci/packages "a test on a file system that hangs" bindfs; fi

containers:
	@if [ "$$(id -u)" = 0 ]; then .ci/packages "the tests of containers" charliecloud-runtime; fi

sge:
	@if [ "$$(id -u)" = 0 ]; then .ci/packages "the tests on a real Grid Engine" $(SGE); fi

browser:
	@.ci/packages "the tests of pages in a browser" $(BROWSER)

# This Python's own tests of executors, which distributions leave out of the standard library.
cpython-tests: $(READY)
	@$(BIN)/python tests/cpython/suites.py || .ci/packages "CPython's own tests of executors" \
	    "$$($(BIN)/python -c 'import sys; print("libpython{}.{}-testsuite".format(*sys.version_info))')"
