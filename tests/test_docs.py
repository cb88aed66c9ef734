"""Every Python block of README.md and docs/ runs: one test for each page, in the order of its blocks."""

from doctest import ELLIPSIS
from pathlib import Path

import pytest
from sybil.document import Document
from sybil.example import SybilFailure
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.any_isa


def failures(page):
    document = Document.parse(str(page), PythonCodeBlockParser(doctest_optionflags=ELLIPSIS), SkipParser())
    for example in document.examples():
        try:
            example.evaluate()
        except SybilFailure as failure:
            yield str(failure)
        except Exception as error:
            yield f"line {example.line}: {error!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs_and_prints_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not list(failures(page))


def test_a_block_that_fails_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x\n1\n>>> x\n2\n```\n\n```python\nassert x == 3\n```\n")
    found = list(failures(page))
    assert len(found) == 2 and "Expected:\n    2\nGot:\n    1" in found[0] and "line 12" in found[1]
