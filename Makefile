# The README's commands. Each makes .venv first if it is not there.
#   make demo   segment the sample subject, or your own scans: make demo T1=… T2=… [REFERENCE=…] [STEP=…]
#   make demo-raw  take a raw subject, skull on and T2 in its own space, through all steps; write demo/raw/report.html
#   make panel  open the Slicer module outside Slicer, segment the sample subject, write demo/panel.png
#   make weights  train the default weights anew, or go on: make weights [WEIGHTS_OPTIONS="--scale 0.02"]
#   make extraction-weights  train the network that finds the brain in raw scans
#   make bench  measure speed and memory beside peers, in an environment of its own; write bench/bench.json and .png
#   make test   run the whole test suite
#   make lint   check style and types

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers

SAMPLE := Resources/SampleSubject
RAW_SAMPLE := Resources/RawSubject
ifeq ($(strip $(T1)$(T2)),)
T1 := $(SAMPLE)/T1.nii.gz
T2 := $(SAMPLE)/T2.nii.gz
REFERENCE ?= $(SAMPLE)/labels.nii.gz
endif
OUTPUT ?= demo
WEIGHTS ?= runs/weights

.PHONY: demo demo-raw panel weights extraction-weights bench test lint clean

demo: $(VENV)/.run
	@mkdir -p "$(OUTPUT)"
	$(BIN)/python model_core/segment.py $(if $(strip $(T1)),--t1 "$(T1)") $(if $(strip $(T2)),--t2 "$(T2)") \
	  $(if $(STEP),--step "$(STEP)") \
	  --output "$(OUTPUT)/segmentation.nii.gz" --probabilities "$(OUTPUT)/probabilities" \
	  --picture "$(OUTPUT)/segmentation.png" $(if $(strip $(REFERENCE)),--reference "$(REFERENCE)" --scores "$(OUTPUT)/scores.json")

demo-raw: $(VENV)/.run
	@mkdir -p "$(OUTPUT)/raw"
	$(BIN)/python model_core/segment.py --raw --t1 $(RAW_SAMPLE)/T1.nii.gz --t2 $(RAW_SAMPLE)/T2.nii.gz \
	  --output "$(OUTPUT)/raw/segmentation.nii.gz" --keep-intermediates "$(OUTPUT)/raw/steps" \
	  --report "$(OUTPUT)/raw/report.html" --picture "$(OUTPUT)/raw/segmentation.png" \
	  --reference $(RAW_SAMPLE)/labels.nii.gz --scores "$(OUTPUT)/raw/scores.json"

# With a display the window stays open until it is closed.
panel: $(VENV)/.stand-in
	@mkdir -p "$(OUTPUT)"
	STEP="$(STEP)" $(BIN)/python -m Testing.slicer_stand_in.run_panel --module InfantBrainSeg --script Testing/module/panel_picture.py \
	  --picture "$(OUTPUT)/panel.png" --size 1920x1080 $(if $(DISPLAY),--window)

# Three fast U-Nets, three hours each on two cores; the published networks want a GPU.
weights: $(VENV)/.train
	$(BIN)/python model_core/make_weights.py --output "$(WEIGHTS)" $(WEIGHTS_OPTIONS)

extraction-weights: $(VENV)/.train
	$(BIN)/python model_core/make_extraction_weights.py --output "$(WEIGHTS)/extraction" $(WEIGHTS_OPTIONS)

# Sooner and coarser: make bench BENCH_OPTIONS=--quick
bench: $(PEERS)/.installed
	$(PEERS)/bin/python -m Testing.benchmarks.run $(BENCH_OPTIONS)

# Two files of tests at a time, each on one core.
test: $(VENV)/.test $(VENV)/.stand-in $(VENV)/.browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_OPTIONS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ty check

clean:
	rm -rf $(VENV) $(PEERS) demo bench .pytest_cache .ruff_cache .hypothesis *.egg-info

# Debian ships Python without venv: installed when this runs as root, else asked for.
$(VENV)/bin/python $(PEERS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; found $$($(PYTHON) --version). Run: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && apt-get install -y -q python3-venv; } || \
	  { echo "Python's venv module is missing; run: sudo apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(@D:/bin=)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.train: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,test]'
	@touch $@

# A browser, in which the cohort's page is tested: installed on Debian when this runs as root; without one, these tests
# are skipped and say so.
$(VENV)/.browser: $(VENV)/.test
	@command -v chromium >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium; } || \
	  echo "Chromium is missing; the tests of the cohort's page will be skipped. Run: sudo apt-get install chromium" >&2
	@touch $@

# Slicer's scene and views, and Qt. What Debian lacks for them is installed when this runs as root, else asked for.
$(VENV)/.stand-in: $(VENV)/.run Testing/slicer_stand_in/debian-packages.txt
	@sh Testing/slicer_stand_in/install_debian_packages.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[slicer-stand-in]'
	@touch $@

$(PEERS)/.installed: $(PEERS)/bin/python pyproject.toml constraints.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[benchmarks]'
	@touch $@
