# Two commands carry a newcomer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint unit model bench bench-model bench-idle bench-ingest bench-load bench-day faults soak validate test-viewer sbom audit-deps clean

$(READY): pyproject.toml constraints.txt training/anatomy.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps --requirement training/anatomy.txt
	touch $@

## A simulated head CT goes through a running node to a stand-in PACS and back.
demo: $(READY)
	$(BIN)/python -m deploy.demo

## Everything that must hold: style, types, import contracts, tests; two files of them at a time.
test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not viewer and not alone'
	$(BIN)/python -m pytest -m alone

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## The fast part of the tests, without sockets or other programs.
unit: $(READY)
	$(BIN)/python -m pytest tests/unit

## How well the shipped model finds simulated bleeds that it never saw.
model: $(READY)
	$(BIN)/python -m training.evaluate simulated --bundle smartnet-ich --heads 60 --processes 2 --out out/model

## Seconds from the last image to the stored SR, stage by stage; seconds and memory of a large SEG.
bench: $(READY)
	$(BIN)/python -m deploy.bench
	$(BIN)/python -m deploy.bench_seg

## Seconds for a study through the shipped model, beside plain PyTorch with the same weights.
bench-model: $(READY)
	$(BIN)/python -m deploy.bench_model

## Images per second into the node, beside DCMTK's storescp and Orthanc.
bench-ingest: $(READY)
	$(BIN)/python -m deploy.bench_ingest

## 64 associations at once, then 200 studies at once: response times, memory, handles, threads.
bench-load: $(READY)
	$(BIN)/python -m deploy.bench_load

## A day of 1,000 studies through one node: memory, handles and threads of its processes.
bench-day: $(READY)
	$(BIN)/python -m deploy.bench_load --images 0 --large 0 --studies 1000

## What a node that waits costs: share of a core, memory.
bench-idle: $(READY)
	$(BIN)/python -m deploy.bench_idle

## 500 kills at random while 300 studies go through; 50 times a full disk, 50 times a read-only
## one; 50 power cuts: the counts of what was lost or came twice.
faults: $(READY)
	$(BIN)/python -m tests.faults.campaign
	$(BIN)/python -m tests.faults.full
	$(BIN)/python -m tests.faults.full --read-only
	$(BIN)/python -m tests.faults.power

## Every object of varied studies before dciodvfy, dcentvfy and PixelMed: counts, and what was said.
validate: $(READY)
	$(BIN)/python -m tests.validation

## Results in OHIF in headless Chromium, from Orthanc: the overlay lies on the bleed, reports open.
test-viewer: $(READY)
	$(BIN)/python -m pytest tests/viewer -m viewer

## A million damaged PDUs over real sockets, 100,000 damaged files: the counts of what went wrong.
soak: $(READY)
	$(BIN)/python -m tests.soak

TOOLS := out/tools

$(TOOLS)/.ready: deploy/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --no-deps --requirement deploy/tools.txt
	touch $@

## What the environment, and that of the tools, are made of: CycloneDX (JSON) in out/sbom*.json.
sbom: $(READY) $(TOOLS)/.ready
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file out/sbom.json
	$(TOOLS)/bin/cyclonedx-py environment $(TOOLS)/bin/python \
	  --output-reproducible --output-format JSON --output-file out/sbom-tools.json

PINS := constraints.txt training/anatomy.txt deploy/tools.txt

## Known vulnerabilities of whatever is pinned. Asks PyPI: fails where that cannot be reached.
audit-deps: $(TOOLS)/.ready
	set -e; for pins in $(PINS); do echo $$pins; \
	  $(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps --requirement $$pins; done

clean:
	rm -rf $(VENV) out
