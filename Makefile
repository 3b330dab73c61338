# Everything here works after `git clone` with python3 (3.11 or later), make and a package index.
AIRFLOW ?= 3.3
PYTHON ?= python3
# More dependency groups of pyproject.toml, such as mysql, which needs a compiler and MariaDB's headers.
EXTRA ?=
# Processes that run the tests side by side: one more than two cores, since many tests wait for a server.
WORKERS ?= 3
# Who is done takes tests of another: a few take many seconds.
SIDE_BY_SIDE := -n $(WORKERS) --dist worksteal

VENV := .venv-$(AIRFLOW)
BIN := $(VENV)/bin
CORE := .venv-core/bin

DOCS_TESTS := tests/core/test_docs.py tests/core/test_docs_pages.py tests/core/test_house.py tests/provider/test_docs_run.py

.PHONY: demo test test-airflow test-core tree docs docs-test browser screenshots chromium cluster-test redis check format bench package package-test release clean

demo: $(VENV)/installed  ## a warehouse's rows become calls at a local Segment, counted on both sides
	$(BIN)/python demo/run.py

test: $(if $(filter 3.3,$(AIRFLOW)),test-core) test-airflow  ## all tests; AIRFLOW=2.11 runs them on that version

# The core's tests have run with the newest libraries already; beside Airflow 2.11 they meet older ones (SQLAlchemy 1.4).
test-airflow: $(VENV)/installed
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(if $(filter 3.3,$(AIRFLOW)),--ignore tests/core) $(ARGS)

test-core: .venv-core/installed  ## the core's tests where Airflow is not installed
	$(CORE)/python -m pytest tests/core -p no:cacheprovider $(SIDE_BY_SIDE) $(ARGS)

docs-test: $(VENV)/installed  ## every code block of README.md and docs/ is run
	$(BIN)/python -m pytest $(DOCS_TESTS) $(ARGS)

tree:  ## the package's files in docs/contributing.md, written anew from their docstrings
	$(PYTHON) docs/tree.py

docs: .venv-docs/installed  ## the pages and an API reference as a site in .site/; a dead link fails
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet

browser: $(VENV)/installed chromium  ## the connection's form and a run's pages, in a real browser
	$(BIN)/pip install --quiet --group browser
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

cluster-test: $(VENV)/installed redis  ## syncs on a whole Airflow with Celery workers, some of which are killed
	$(BIN)/pip install --quiet --group cluster
	$(BIN)/python -m pytest -m cluster tests/cluster $(ARGS)

redis:
	@command -v redis-server >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y redis-server; } >/dev/null 2>&1 \
	|| echo "redis could not be installed; the tests on a whole deployment skip"

screenshots:  ## those of docs/images, taken anew
	SCREENSHOTS=docs/images $(MAKE) browser

chromium:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null \
	|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y chromium chromium-driver; } \
	|| { echo "Please install chromium and its driver, such as: sudo apt-get install chromium chromium-driver"; false; }

check: $(VENV)/installed  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/bench  ## all promises of speed and memory, beside other ways to Segment, in 45 minutes; SHORT=1 takes 3, ARGS="--only identify" a part
	$(BIN)/python benchmarks/bench.py $(if $(SHORT),--short) $(ARGS)

package: .venv-core/installed  ## wheel and source distribution into dist/, checked as the index checks them
	$(CORE)/pip install --quiet --group package
	rm -rf dist
	$(CORE)/python -m build
	$(CORE)/python -m twine check --strict dist/*

package-test: package  ## dist/ in clean environments: Airflow 3.3 and 2.11, beside the official provider, and as managed ones pin it
	$(CORE)/python -m pytest -m packaging tests/packaging $(ARGS)

release:  ## VERSION=1.2.3: looks at version, changelog, tag and working tree, and builds what is uploaded
	@test -n "$(VERSION)" || { echo "Which one? make release VERSION=1.2.3"; false; }
	@grep -qxF '__version__ = "$(VERSION)"' airflow_provider_segment/__init__.py \
	|| { echo 'airflow_provider_segment/__init__.py: expected __version__ = "$(VERSION)"'; false; }
	@grep -qE '^## $(subst .,\.,$(VERSION)) \([0-9]{4}-[0-9]{2}-[0-9]{2}\)$$' CHANGELOG.md \
	|| { echo "CHANGELOG.md: expected the heading '## $(VERSION) (YYYY-MM-DD)'"; false; }
	@test -z "$$(git status --porcelain)" || { echo "The working tree has changes that are not committed"; false; }
	@! git rev-parse -q --verify "refs/tags/v$(VERSION)" >/dev/null || { echo "The tag v$(VERSION) is there already"; false; }
	$(MAKE) package
	@echo "Now: git tag v$(VERSION) && git push origin v$(VERSION) && twine upload dist/*"

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# pip learnt --group in 25.1, so it is brought up to date first.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet 'apache-airflow==$(AIRFLOW).*' --editable . --group dev $(addprefix --group ,$(EXTRA))
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet --group bench
	touch $@

.venv-docs/installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --upgrade 'pip>=25.1'
	.venv-docs/bin/pip install --quiet --group docs
	touch $@

.venv-core/installed: pyproject.toml
	$(PYTHON) -m venv .venv-core
	$(CORE)/pip install --quiet --upgrade 'pip>=25.1'
	$(CORE)/pip install --quiet --group core
	$(CORE)/pip install --quiet --no-deps --editable .
	$(CORE)/python -c 'import importlib.util as u; assert u.find_spec("airflow") is None, "Airflow is installed here"'
	touch $@

clean:
	rm -rf .venv-* .airflow-* .site dist
