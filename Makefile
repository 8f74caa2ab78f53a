# make demo    install, simulate a scan, train on two local ranks, show picture and scores
# make test    the whole test suite; starts a real one-host SLURM where its packages are installed
# make test-quick  the unit tests without those that compute for long
# make coverage  branch coverage of the pure cores by the unit tests; fails below 90 %
# make reference  write the generated pages and the schema anew
# make check   lint, format, types, import rules
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Unit tests that train, reconstruct, fit, or try thousands of inputs: `make test` runs them, too.
NOT_QUICK := training checkpoint reconstruction models scaling test_infer.py \
	launcher/test_bad_configs.py launcher/test_injection.py launcher/test_killed_submission.py

.PHONY: .venv demo test test-quick coverage check reference cluster-up cluster-down clean

.venv: $(INSTALLED)

# torch comes from constraints.txt; on machines without a CUDA build at hand it is the CPU one.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	mkdir -p demo
	test -f demo/train.npz || $(BIN)/ptycho-data simulate demo/train.npz --n-patterns 1024
	test -f demo/test.npz || $(BIN)/ptycho-data simulate demo/test.npz --n-patterns 64 --seed 1
	$(BIN)/ptycho-launch submit slurm/examples/quickstart.yaml --cluster local --wait

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

test-quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 tests/unit $(NOT_QUICK:%=--ignore=tests/unit/%)

coverage: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 tests/unit --cov --cov-report=term-missing

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

reference: $(INSTALLED)
	$(BIN)/python -m ptycho_dist.config.schema > specs/run_config.schema.json
	$(BIN)/python docs/reference/generate.py

cluster-up:
	@$(PYTHON) slurm/cluster/cluster.py up $(CLUSTER_OPTIONS)

cluster-down:
	@$(PYTHON) slurm/cluster/cluster.py down

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
