"""Every kind of series through the real port: all verdicts right, and the daemon unharmed."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.deliver.standin import StandInPacs
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import Engine, open_engine
from tests.support.sender import store
from tests.support.series import head_series, write
from tests.support.variants import ANALYSED, VARIANTS

pytestmark = pytest.mark.timeout(900)

_DEADLINE_S = 240.0
_ENDED = ("reported", "delivered", "confirmed", "refused", "failed")
_SENDERS = 4


@dataclass(frozen=True)
class Site:
    """A node with the tiny model, and its PACS."""

    node: RunningNode
    pacs: StandInPacs
    engine: Engine

    def verdicts(self) -> dict[str, str] | None:
        """The verdict of every series, when all have ended."""
        every = [one for study in overview.studies(self.engine) for one in study["series"]]
        if not every or any(one["state"] not in _ENDED for one in every):
            return None
        return {one["series_instance_uid"]: one["reason"] or ANALYSED for one in every}

    def modalities(self) -> dict[str, Counter[str]]:
        """What the PACS got, by study."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for path in self.pacs.received():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            found[str(header.StudyInstanceUID)][str(header.Modality)] += 1
        return found


@contextmanager
def site(folder: Path, bundle: Path) -> Iterator[Site]:
    pacs, port = StandInPacs.start(folder / "pacs"), free_port()
    config = configuration(
        folder, port, [("pacs", "PACS", pacs.port)], bundle=str(bundle), quiet_seconds=2.0
    )
    config.write_text(f"{config.read_text()}[selection]\nwait_seconds = 1\n")
    engine = open_engine(load_settings(config).database_url)
    try:
        with running_node(config, port) as node:
            yield Site(node, pacs, engine)
    finally:
        engine.dispose()
        pacs.stop()


def send_mixed(port: int, paths: Sequence[Path], senders: int) -> None:
    """Send files of many series in any order, over so many associations at once."""
    mixed = random.Random(1).sample(list(paths), len(paths))
    statuses: list[int] = []

    def send(which: int) -> None:
        statuses.extend(store(port, mixed[which::senders]))

    threads = [threading.Thread(target=send, args=(which,)) for which in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(statuses) == {0: len(mixed)}


def write_variants(folder: Path) -> dict[str, tuple[str, list[Path]]]:
    """Each variant as the one series of a study: name, series UID and files."""
    made = {}
    for seed, variant in enumerate(VARIANTS, start=100):
        datasets = variant.mutate(head_series(seed))
        paths = write(datasets, folder / str(seed), variant.syntax)
        made[variant.name] = (str(datasets[0].SeriesInstanceUID), paths)
    return made


def test_every_variant_has_its_verdict_and_the_daemon_is_unharmed(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """All in any order over four associations; then a good one, as if nothing had been."""
    assert len(VARIANTS) >= 40
    made = write_variants(tmp_path / "in")
    with site(tmp_path / "node", tiny_bundle) as it:
        send_mixed(it.node.port, [path for _, paths in made.values() for path in paths], _SENDERS)

        def all_ended() -> Mapping[str, str] | None:
            found = it.verdicts()
            return found if found and len(found) == len(made) else None

        found = wait_for(all_ended, _DEADLINE_S, "verdict on every series")
        verdicts = {name: found[uid] for name, (uid, _) in made.items()}
        assert verdicts == {variant.name: variant.verdict for variant in VARIANTS}
        after = write(head_series(99), tmp_path / "after")
        send_mixed(it.node.port, after, 1)
        good = str(head_series(99)[0].SeriesInstanceUID)
        wait_for(lambda: (it.verdicts() or {}).get(good), _DEADLINE_S, "one more verdict")
        assert (it.verdicts() or {})[good] == ANALYSED
        studies = {
            variant.name: str(pydicom.dcmread(made[variant.name][1][0]).StudyInstanceUID)
            for variant in VARIANTS
        }
        told = [studies[variant.name] for variant in VARIANTS if variant.is_told]
        wait_for(lambda: len(it.modalities()) == len(told) + 1, _DEADLINE_S, "reports in the PACS")
        got = it.modalities()
        assert {study: got[study]["SR"] for study in studies.values()} == {
            study: int(study in told) for study in studies.values()
        }
        log = it.node.log.read_text()
    assert "Traceback" not in log
    assert "process ended" not in log
    assert '"level": "error"' not in log


@pytest.mark.shared_data
def test_the_whole_phantom_is_told_of_once_a_study(
    tmp_path: Path, shared_data: Path, tiny_bundle: Path
) -> None:
    """All folders mixed in one association: reasons in the rows, one report for each study."""
    paths = [path for path in (shared_data / "philips-phantom").glob("*/*/*") if path.is_file()]
    with site(tmp_path / "node", tiny_bundle) as it:
        send_mixed(it.node.port, paths, 1)
        uids = {
            str(pydicom.dcmread(path, stop_before_pixels=True).SeriesInstanceUID): "/".join(
                path.parts[-3:-1]
            )
            for path in paths
        }

        def all_ended() -> dict[str, str] | None:
            found = it.verdicts()
            return found if found and len(found) == len(uids) else None

        found = wait_for(all_ended, _DEADLINE_S, "verdict on every series")
        wait_for(lambda: len(it.modalities()) == 2, _DEADLINE_S, "two reports")
        got = it.modalities()
    assert {uids[uid]: verdict for uid, verdict in found.items()} == {
        "S21570/S1000": "localizer",
        "S21570/S2010": "not_a_head",
        "S21570/S2030": "bone_kernel",
        "S21570/S4010": "not_ct",
        "S21610/S1000": "localizer",
        "S21610/S2010": "not_a_head",
    }
    assert list(got.values()) == [{"SR": 1}, {"SR": 1}]
