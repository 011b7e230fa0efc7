"""The fallback when no evidence decides: nothing has come for a while."""

from __future__ import annotations

from ich_node.complete.snapshot import Decision, SeriesSnapshot

# An association that brought images of the series and stays open asks for patience, but not for
# ever: routers keep one open for all they send, and a dead peer never releases.
OPEN_ASSOCIATION_PATIENCE = 4.0


def quiet(snapshot: SeriesSnapshot, now: float, quiet_seconds: float) -> Decision | None:
    """Nothing has come for the quiet time; for four times as long if the peer is still there."""
    elapsed = now - snapshot.last_received
    waiting = snapshot.open_associations > 0
    needed = quiet_seconds * (OPEN_ASSOCIATION_PATIENCE if waiting else 1.0)
    if elapsed < needed:
        return None
    peer = "association still open" if waiting else "association released"
    return Decision(f"quiet for {elapsed:.0f} s, {peer}, {snapshot.instances} instances")
