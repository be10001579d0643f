# make build && make train-fcn32s     everything from nothing: data, classifier, FCN-32s, its score
# make report                         scores a run, as one HTML file to look at
# make staged                         all stages with their controls: Table 2 in miniature
# make paper-mini                     all of the paper's experiments in miniature, as one page
# make zoo-mini                       small nets of FCN and its successors, as one table
# make test                           the default tests
#
# PYTHON  the Python to start from      VENV   folder of the venv; empty: none, PYTHON has torch
# TORCH   the requirement that pip installs as torch
# VOC, SBD, WEIGHTS, CLASSES, MNIST, M2NIST    your data, see docs/training.md
# NET, ITERATIONS, RESTORE=1, FRESH=1          of train-fcn32s, train-fcn16s, train-fcn8s, eval
#         and report
# BATCH, SAMPLES   images per pass and samples per iteration of train-…: another recipe
# KEEP    number of snapshots to keep   SEEDS  of staged and paper-mini
# MINUTES, JOBS, SEED of fuzz
# FAMILY  mini: narrow nets; voc (default with VOC): the release's; scratch: the release's width,
#         from random weights

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
FAMILY ?= $(if $(VOC),voc,mini)
NET ?= $(FAMILY)-fcn32s

PY := $(if $(VENV),$(VENV)/bin/python,$(PYTHON))
RUN := $(PY) -m fcn_repro
export PYTHONPATH := $(CURDIR)
unexport OPENBLAS_CORETYPE

OPTIONS = $(if $(VOC),--voc '$(VOC)') $(if $(SBD),--sbd '$(SBD)') \
          $(if $(MNIST),--mnist '$(MNIST)')
TRAIN = $(OPTIONS) $(if $(M2NIST),--m2nist '$(M2NIST)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
        $(if $(CLASSES),--classes $(CLASSES)) $(if $(ITERATIONS),--iterations $(ITERATIONS)) \
        $(if $(BATCH),--batch $(BATCH)) $(if $(SAMPLES),--samples $(SAMPLES)) \
        $(if $(RESTORE),--restore) $(if $(FRESH),--fresh) $(if $(KEEP),--keep $(KEEP))

.PHONY: build staged paper-mini zoo-mini eval report test test-slow lint sanitize kills fuzz cuda-check \
        gpu-check bench wheel clean

build: $(if $(VENV),$(VENV)/installed)
	@$(MAKE) --no-print-directory --silent build/built-$$($(PY) tools/build_stamp.py)

$(VENV)/installed: requirements.txt
	@echo "installing $(TORCH) and requirements.txt into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(PY) -c "import pathlib, site; \
	    pathlib.Path(site.getsitepackages()[0], 'fcn_repro.pth').write_text('$(CURDIR)')"
	@printf '#!%s\nfrom fcn_repro.cli.main import main\nmain()\n' '$(abspath $(PY))' \
	    > $(VENV)/bin/fcn-repro && chmod +x $(VENV)/bin/fcn-repro
	@touch $@

# The stamp's name has torch, compiler and machine (tools/build_stamp.py): where any of them is
# another one, nothing that was compiled before is used.
build/built-%: setup.py $(wildcard csrc/* csrc/*/* csrc/*/*/*)
	@echo "compiling the C++ ops, a few minutes"
	@[ -e $@ ] || rm -rf build/temp.* build/lib.* fcn_repro/_C*.so fcn_repro/_built.json
	@mkdir -p build
	@$(PY) setup.py --quiet build_ext --inplace > build/build.log 2>&1 || \
	    { cat build/build.log; exit 1; }
	@$(PY) tools/check_build.py
	@rm -f build/built-* && touch $@

# train-fcn32s, -fcn16s, -fcn8s, -fcn8s-atonce, … of the FAMILY, each from the stage before it; or
# train-STAGE with the full name of a stage
STAGE = $(if $(wildcard prototxt/$*/solver.prototxt),$*,$(FAMILY)-$*)
train-%: build
	@$(RUN) train $(if $(filter file,$(origin NET)),$(STAGE),$(NET)) $(TRAIN)

staged: build
	@$(RUN) staged --family $(FAMILY) $(if $(SEEDS),--seeds $(SEEDS)) $(OPTIONS) \
	    $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(CLASSES),--classes $(CLASSES)) \
	    $(if $(ITERATIONS),--iterations $(ITERATIONS)) $(if $(KEEP),--keep $(KEEP))

paper-mini: build
	@$(RUN) paper all --mini $(if $(SEEDS),--seeds $(SEEDS))

# FAMILY: one family of the zoo alone; `fcn-repro zoo --list` has their names
zoo-mini: build
	@$(RUN) zoo $(if $(filter file,$(origin FAMILY)),,--family $(FAMILY)) \
	    $(if $(SEEDS),--seeds $(SEEDS))

EVAL = --stage $(NET) $(OPTIONS) $(if $(M2NIST),--m2nist '$(M2NIST)') \
       $(if $(WEIGHTS),--weights '$(WEIGHTS)')
eval: build
	@$(RUN) eval $(EVAL)

# scores NET as eval does and writes its report, one HTML file; REPORT: another name for it
report: build
	@$(RUN) eval $(EVAL) --report $(if $(REPORT),'$(REPORT)')

test: build
	@$(PY) -m pytest -n 2

test-slow: build
	@$(PY) -m pytest -m slow

lint: build
	@$(PY) -m ruff check .
	@$(PY) -m mypy

sanitize: build
	@$(PY) tools/sanitize.py

kills: build
	@$(PY) tools/kills.py $(if $(KILLS),--count $(KILLS))

cuda-check: build
	@$(PY) tools/cuda_check.py

gpu-check: build
	@$(PY) tools/gpu_check.py $(STEPS)

bench: build
	@$(PY) benchmarks/bench.py --json runs/bench/results.json
	@$(PY) benchmarks/report.py runs/bench/results.json --out runs/bench

# MINUTES of mutated files for all readers; JOBS at once; SEED: others
fuzz: build
	@$(PY) tools/fuzz.py --minutes $(or $(MINUTES),10) --jobs $(or $(JOBS),1) --seed $(or $(SEED),0)

wheel: build
	$(PY) -m pip wheel --quiet --no-build-isolation --no-deps -w dist .

clean:
	rm -rf build dist fcn_repro/_C*.so fcn_repro/_built.json *.egg-info
