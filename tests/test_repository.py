"""The repository keeps its promises: light imports, one door, complete packages, links that lead somewhere."""

import fnmatch
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = ("simcore", "engine", "app", "assets")
HEAVY = {"polars", "scipy", "torch", "matplotlib", "PySide6", "pandas", "pyarrow"}
MACHINE_PATH = re.compile(r"(?<![\w./:<>-])/(?:home|Users|root|work|mnt|opt)/[\w.]|\b[A-Z]:[\\/]+Users\b|file:///\w")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)


@pytest.fixture(scope="module")
def sources() -> list[Path]:
    """Every file that is or would be committed, relative to the root."""
    try:
        listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("module", ["simcore", "main"])
def test_import_is_light(module: str) -> None:
    result = run(sys.executable, "-c", f"import sys, {module}; print(*sys.modules)")
    assert result.returncode == 0, result.stderr
    assert HEAVY.isdisjoint(result.stdout.split())


def test_console_script_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="kvscope")
    assert script.load() is main.main
    kvscope = shutil.which("kvscope", path=sysconfig.get_path("scripts"))
    assert kvscope is not None
    for command in ([kvscope], [sys.executable, "main.py"]):
        result = run(*command, "--help")
        assert result.returncode == 0, result.stderr
        assert "simulate" in result.stdout


def test_main_without_a_command_runs_the_default_scenario(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(main, "command_line", lambda *arguments: calls.append(arguments) or 3)
    monkeypatch.setattr(sys, "argv", ["main.py"])
    assert main.main() == 3
    assert "default scenario" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["main.py", "simulate", "--json"])
    assert main.main() == 3
    assert capsys.readouterr().out == "", "a command's output is its own"
    assert calls == [(["simulate"],), ()]


def test_every_dependency_has_its_tested_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    for pin in pins:
        assert pin.url is None
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
    tested = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    assert len(tested) == len(pins), "a package is named twice"
    extras = PROJECT["project"]["optional-dependencies"].values()
    for line in [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        if wanted.name == PROJECT["project"]["name"]:
            continue  # one extra brings another
        assert tested[canonicalize_name(wanted.name)] in wanted.specifier


def test_packages_are_complete(sources: list[Path]) -> None:
    """What the editable install finds anyway, an installed package would find too."""
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for path in sources:
        package = path.parts[0]
        if package not in PACKAGES:
            continue
        if path.suffix == ".py":
            assert path.parent / "__init__.py" in sources, f"{path.parent} is no package"
        else:
            inside = path.relative_to(package).as_posix()
            patterns = [pattern.replace("**/", "*") for pattern in data.get(package, [])]
            assert any(fnmatch.fnmatch(inside, pattern) for pattern in patterns), f"{path} is not declared"


@pytest.mark.parametrize("kind", ["models", "hardware", "scenarios"])
def test_presets_are_installed(kind: str) -> None:
    assert any(preset.name.endswith(".toml") for preset in files("assets").joinpath(kind).iterdir())


def test_links_lead_somewhere(sources: list[Path]) -> None:
    documents = [path for path in sources if path.suffix == ".md"]
    assert Path("README.md") in documents
    for document in documents:
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", text):
            assert (ROOT / document.parent / target).exists(), f"{document} links to {target}"


def test_no_path_of_a_machine(sources: list[Path]) -> None:
    for path in sources:
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            found = MACHINE_PATH.search(content.decode("utf-8", errors="replace"))
            assert found is None, f"{path}: {found and found.group()}"


def test_changelog_knows_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{PROJECT['project']['version']}]" in changelog
