"""The pages of docs/ say what the code says, and lead where they point."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from seamark import spec
from seamark.contract import parse_rules
from seamark.spec import parse

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
MANIFEST = (DOCS / "manifest.md").read_text()


def block(language: str, text: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


def sections(text: str) -> dict[str, str]:
    return {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}


def test_the_manifest_page_shows_every_default() -> None:
    full = yaml.safe_load(block("yaml", MANIFEST))
    least: dict[str, Any] = {
        **full,
        "metadata": {"name": "churn"},
        "spec": {"model": {"uri": full["spec"]["model"]["uri"]}},
    }
    assert parse(full) == parse(least)


def test_the_manifest_page_names_every_field_that_is_read() -> None:
    source = Path(spec.__file__).read_text()
    fields = set(re.findall(r"\.(?:take|need)\(\s*\"(\w+)\"", source))
    assert len(fields) > 50
    assert [name for name in sorted(fields) if name not in re.findall(r"\w+", MANIFEST)] == []


@pytest.mark.parametrize("strategy", spec.STRATEGIES)
def test_the_manifest_page_has_every_choice(strategy: str) -> None:
    assert f"| `{strategy}` |" in MANIFEST


@pytest.mark.parametrize("choice", [*spec.GATE_METRICS, *spec.DRIFT_KINDS, "extend", "pause", "promote"])
def test_the_manifest_page_explains_every_word(choice: str) -> None:
    assert f"`{choice}`" in MANIFEST or f"{{drift: {choice}}}" in MANIFEST


def test_the_contract_on_the_manifest_page_is_one() -> None:
    text = sections(MANIFEST)["A package's own contract"]
    assert [rule.rule for rule in parse_rules(yaml.safe_load(block("json", text)))] == ["range", "missing", "category"]


def test_generated_pages_are_up_to_date() -> None:
    """Else: make generate."""
    made = runpy.run_path(str(DOCS / "generate.py"))["pages"]()
    assert {path: path.read_text() for path in made} == made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / name) if name else page
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}, target
