"""What was measured, put into the card of the bundle that it was measured with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ich_node.infer.bundle import read_bundle
from training.evaluate.report import figures, make_report, measured_sha256

_MEASURED = "## Measured: "


def write_card(bundle: str, folders: Sequence[Path]) -> Path:
    """Write the figures of folders of rows to the end of a bundle's card; return its path.

    What stands there of earlier figures is replaced; all before it, which people write, is kept.

    Raises
    ------
    ValueError
        A folder was measured with other weights.
    FileNotFoundError
        A folder holds no rows.
    """
    read = read_bundle(bundle)
    path = read.folder / "docs" / "README.md"
    parts = [path.read_text("utf-8").partition(f"\n{_MEASURED}")[0].rstrip()]
    for folder in folders:
        if (other := measured_sha256(folder)) != read.sha256:
            raise ValueError(
                f"{folder} was measured with weights of SHA-256 {other[:16]}, {bundle} has "
                f"{read.sha256[:16]}: measure again"
            )
        page = make_report(folder)
        parts += [f"{_MEASURED}{page.title[0].lower()}{page.title[1:]}", *figures(page, "###")]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path
