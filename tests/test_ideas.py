"""The pictures of docs/ideas show what the product computes now."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("ideas", ROOT / "scripts" / "ideas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IDEAS = script()


def words(picture: Path) -> list[str]:
    """What is written in it, numbers included."""
    return re.findall(r"<text[^>]*>([^<]*)<", picture.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", IDEAS.PICTURES)
def test_a_picture_is_of_today(name: str, tmp_path: Path) -> None:
    IDEAS.main([str(tmp_path), "--only", name])
    written = words(tmp_path / f"{name}.svg")
    assert len(written) >= 3
    assert words(PICTURES / f"{name}.svg") == written, "run: python scripts/ideas.py"


def test_every_idea_has_a_picture_and_a_sentence_for_everybody() -> None:
    pages = sorted((ROOT / "docs" / "ideas").glob("*.md"))
    assert {page.stem for page in pages} == {*IDEAS.PICTURES, "pruning"}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert f"](../pictures/{page.stem}.svg)" in text
        assert "\n**In a sentence.** " in text


def test_pictures_have_the_numbers_of_their_pages() -> None:
    shares = [text for text in words(PICTURES / "fragmentation.svg") if text.endswith(" %")]
    page = (ROOT / "docs" / "ideas" / "fragmentation.md").read_text(encoding="utf-8")
    assert len(shares) >= 10
    assert all(share in page for share in shares)
    waits = re.findall(r"[\d.]+ s", " ".join(words(PICTURES / "prefix-sharing.svg")))
    page = (ROOT / "docs" / "ideas" / "prefix-sharing.md").read_text(encoding="utf-8")
    assert len(waits) == 2
    assert all(wait in page for wait in waits)
