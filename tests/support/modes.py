"""Who may read what a node writes."""

from pathlib import Path


def open_to_others(folder: Path) -> list[str]:
    """Return what in a folder anybody but its owner may read, write or enter, with its mode."""
    return [
        f"{path.relative_to(folder.parent)} {mode & 0o777:o}"
        for path in [folder, *sorted(folder.rglob("*"))]
        if (mode := path.lstat().st_mode) & 0o077 and not path.is_symlink()
    ]
