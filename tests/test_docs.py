"""The pages find each other, and the policies that they show can be used as they stand."""

import re
from pathlib import Path

import pytest

from simcore import Scenario, load_policy, simulate
from simcore.scenario.presets import preset_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
POLICIES = re.findall(r"```python\n(.*?)```", (DOCS / "policies.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_first_page_links_all_others() -> None:
    linked = re.findall(r"\]\(([^)#]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8"))
    assert {(DOCS / target).resolve() for target in linked} == {*PAGES, ROOT / "README.md"} - {DOCS / "README.md"}


def test_links_into_pages_name_a_heading() -> None:
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)\s:]*)#([^)\s]+)\)", text):
            there = page.parent / target if target else page
            assert anchor in anchors(there), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> list[str]:
    """As GitHub makes them of headings: small letters, hyphens for spaces, no other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_readme_counts_the_presets_and_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [counts] = re.findall(r"(\d+) scenarios,\s+(\d+) models.+?(\d+) kinds of hardware", text, re.DOTALL)
    assert [int(count) for count in counts] == [len(preset_names(of)) for of in ("scenarios", "models", "hardware")]
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "'p99'" in capsys.readouterr().out


def test_the_page_shows_the_example() -> None:
    assert POLICIES[0] in (ROOT / "examples" / "my_policy.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [code for code in POLICIES if "@dataclass" in code])
def test_policies_of_the_page_run(code: str, tmp_path: Path) -> None:
    file = tmp_path / "policies.py"
    file.write_text(code, encoding="utf-8")
    load_policy(file)
    changes = ["workload.requests=60", "memory.blocks=400"]
    families = {"Eviction": "memory.eviction", "Admission": "memory.admission"}
    families |= {"RankedQueue": "scheduler.policy", "ScoredVictim": "scheduler.victim"}
    chosen = re.findall(r'class \w+\((\w+)\):.*?name = "([\w-]+)"', code, re.DOTALL)
    assert chosen
    changes += [f"{families[base]}={name}" for base, name in chosen]
    summary = simulate(Scenario.preset("overload", changes)).summary
    assert summary["requests"]["finished"] == 60
    assert summary["evictions"] + summary["preemptions"] > 0
