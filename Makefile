# make demo | test | test-all | test-processors | test-metrics | lint | clean    The first call sets up .venv; later ones reuse it.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready
BESIDE ?= .venv-metrics
# Processes of the tests, each with one thread; a file's tests stay together, as they share what they trained.
WORKERS ?= 2
PYTEST  = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile
OUT    ?= runs/demo
# Real recordings join the demo's page where they are at hand.
MUSE   ?= $(wildcard ../shared/data/muse-visual)

.PHONY: demo test test-all test-processors test-metrics lint clean

demo: $(READY)
	$(BIN)/phosphene demo --out $(OUT) $(if $(MUSE),--muse $(MUSE))

test: $(READY)
	$(PYTEST)

test-all: $(READY) test-processors
	$(PYTEST) -m ""

# The instructions of older processors, with which the libraries below round otherwise.
test-processors: $(READY)
	ATEN_CPU_CAPABILITY=default $(PYTEST)
	ATEN_CPU_CAPABILITY=avx2 $(PYTEST)
	ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 OPENBLAS_CORETYPE=Nehalem $(PYTEST)

# A second environment over the packages of the first, of the same Python whatever PYTHON says.
test-metrics: $(READY)
	$(BIN)/python -m venv $(BESIDE)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	    > $$($(BESIDE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beside.pth
	$(BESIDE)/bin/python -m pip install --quiet --no-deps -r tests/metrics_env/requirements.txt
	$(BESIDE)/bin/python -c 'import torchaudio' 2>/dev/null || rm -f $(BESIDE)/lib/python3.*/site-packages/torchaudio/lib/*.so
	$(BESIDE)/bin/python -m pytest tests/metrics_env tests/evaluation/metrics \
	    tests/contracts/test_contracts.py::test_encoders_map_batches_to_vectors

lint: $(READY)
	$(BIN)/python -m pytest tests/test_style.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist
