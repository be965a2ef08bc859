# `make demo` shows the main job; `make test` runs everything CI runs. Both set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
DEMO := build/demo
TASKS := build/tasks
LOWEST := .venv-lowest

.PHONY: demo faces search speech digits text video test lint types unit sample zoo zoo-table onnx-suite import-zoo import-onnx wheels test-lowest docs clean

demo: .venv/demo
	mkdir -p $(DEMO)
	$(BIN)/python examples/cnn/train.py $(DEMO)/weights.pth
	$(BIN)/trtdsl check examples/cnn/cnn.trtnet $(DEMO)/weights.pth
	$(BIN)/trtdsl compile examples/cnn/cnn.trtnet $(DEMO)/weights.pth -o $(DEMO)/cnn.engine

# Real weights doing real work: each writes what it found under build/tasks.

faces: .venv/examples
	mkdir -p $(TASKS)
	$(BIN)/python examples/mtcnn/find_faces.py -o $(TASKS)/faces.png

search: .venv/examples
	$(BIN)/python examples/bert/search.py "can an engine be built without a graphics card?" "what is quantised to int8?" \
	  --among README.md docs/checkpoints.md docs/precision.md docs/verification.md

speech: .venv/examples
	mkdir -p $(TASKS)
	$(BIN)/python examples/silero_vad/mark_speech.py -o $(TASKS)/speech.png

digits: .venv/examples
	$(BIN)/python examples/digits/digits.py -o $(TASKS)/digits

text: .venv/examples
	mkdir -p $(TASKS)
	$(BIN)/python examples/ocr/read_text.py -o $(TASKS)/text.png

video: .venv/examples
	mkdir -p $(TASKS)
	$(BIN)/python examples/video/watch.py -o $(TASKS)/lit.mp4 --compare

test: lint types unit sample

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/trtdsl fmt --check $$(git ls-files '*.trtnet' | grep -v '^tests/errors/')

types: .venv/dev
	$(BIN)/pyright

unit: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not zoo and not whole and not wheels"

# Of each family the smallest network, compared with its original.
sample: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m zoo

# Every network of examples/zoo.json: compared, built in each precision, and the tables of examples/README.md. Hours;
# the next run goes on where one ended.
zoo: .venv/zoo
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m whole
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.zoo

# The tables of what was run already.
zoo-table: .venv/dev
	$(BIN)/python -m benchmarks.zoo --table

# ONNX's own tests of its operators, over the importer; minutes.
onnx-suite: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/onnx_suite.py --write

# Published models through the importer, each compared with its module; an hour or more.
import-zoo: .venv/zoo
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/import_zoo.py --write

# The same models as ONNX files; some hours.
import-onnx: .venv/zoo
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/import_onnx.py --write

wheels: .venv/dev
	$(BIN)/pytest -n 2 -m wheels

# The lowest releases that pyproject.toml claims, in an environment of their own: `make test-lowest PYTHON=python3.10`.
# As with `make unit`, without whole published models; one more file is left out, whose models PyTorch exports to
# ONNX: the exporter of 2.5 fails for some, and of the others NVIDIA's parser does not read what it writes. So are the
# importer's tests: it asks for PyTorch 2.14 (the extra `import`), and says so where another is installed; and the
# tasks' tests: they compare with packages of today (the extra `examples`). click comes last: what transformers needs
# asks for a later one, for its own commands alone.
test-lowest: $(LOWEST)/ready
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 -m "not zoo and not whole and not wheels" \
	  --ignore tests/evaluate/test_onnx_models.py --ignore tests/importers \
	  --ignore tests/tasks

$(LOWEST)/ready: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -e .
	$(LOWEST)/bin/python tests/lowest.py > $(LOWEST)/constraints.txt
	grep -v '^click==' $(LOWEST)/constraints.txt > $(LOWEST)/resolved.txt
	$(LOWEST)/bin/python -m pip install --quiet --constraint $(LOWEST)/resolved.txt -e ".[test]"
	$(LOWEST)/bin/python -m pip install --quiet --no-deps "$$(grep '^click==' $(LOWEST)/constraints.txt)"
	touch $@

docs: .venv/dev
	$(BIN)/python -c "from trtdsl.ops.describe import operator_pages; print(operator_pages(), end='')" > docs/operators.md
	$(BIN)/python -c "from trtdsl.support import page; print(page(), end='')" > docs/support.md

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e ".[demo]"
	touch $@

.venv/examples: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet -e ".[examples]"
	$(BIN)/python -m pip install --quiet --no-deps "facenet-pytorch>=2.6"
	touch $@ .venv/demo

.venv/dev: pyproject.toml .venv/examples
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

.venv/zoo: pyproject.toml .venv/dev
	$(BIN)/python -m pip install --quiet -e ".[zoo]"
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist
