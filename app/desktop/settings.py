"""What is remembered between two starts: where the window was, the theme, recent files, what was closed for good."""

from pathlib import Path

from PySide6.QtCore import QSettings

MOST_RECENT = 12


def settings() -> QSettings:
    """The store, a file in the person's own settings."""
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "KVScope", "KVScope")


def unsaved() -> Path:
    """Where edits are kept that there was no time to ask about."""
    return Path(settings().fileName()).with_name("unsaved.toml")


def recent() -> list[Path]:
    """Files and folders that were opened or saved, the last one first; those that are gone are left out."""
    return [path for path in _recent() if path.exists()]


def remember(path: Path) -> None:
    """It was opened or saved."""
    path = path.absolute()
    kept = [path, *(other for other in _recent() if other != path)][:MOST_RECENT]
    settings().setValue("recent", [str(each) for each in kept])


def forget_recent() -> None:
    """Clear the list."""
    settings().remove("recent")


def flag(name: str, default: bool = False) -> bool:
    """A yes or no that was remembered."""
    return bool(settings().value(name, default, bool))


def set_flag(name: str, on: bool) -> None:
    """Remember a yes or no."""
    settings().setValue(name, on)


def _recent() -> list[Path]:
    found = settings().value("recent", [])
    names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    return [Path(str(name)) for name in names if name]
