"""Power cuts: what was not synced is gone, and nothing that was acknowledged is.

One node is recorded while studies go through, down to each write and sync of its data folder. Then
the power is cut at moments of that record: a disk is made of what lasted, a node starts on it, and
the senders go on as they would. `python -m tests.faults.power --runs 50 --seed 1` prints the
counts; exit status 0 only if all that must be none is none.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pydicom

from deploy.demo.running import configuration, free_port, wait_for
from ich_node import logs
from ich_node.infer.predictor import Predictor, load_predictor
from ich_node.settings import load_settings
from ich_node.store.engine import open_engine
from tests.faults import campaign
from tests.faults.actors import FlappingPacs, Sent, Serving, send_until_acknowledged
from tests.faults.campaign import Report, look_for_patients
from tests.faults.disk import MARK, Disk, Playback, Record, lay_over, needs, read_log
from tests.faults.life import hasten, live
from tests.support.series import head_series, write
from training.tiny import write_tiny_bundle

_QUIET_S = 2.0
_DEADLINE_S = 180.0


class _Acknowledged(dict[str, str]):
    """What senders were told, written down between the changes of the disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def __setitem__(self, uid: str, digest: str) -> None:
        self._disk.mark(f"sender {uid} {digest}")
        super().__setitem__(uid, digest)


class _Witness(FlappingPacs):
    """A PACS that writes down what it took before it answers."""

    def __init__(self, port: int, disk: Disk) -> None:
        super().__init__(port)
        self._disk = disk

    def _keep(self, event: object) -> int:
        answer = super()._keep(event)
        self._disk.mark(f"pacs {' '.join(self.received[-1])}")
        return answer


@dataclass(frozen=True)
class Recorded:
    """A node's life: its configuration, what was sent, and every change of its data folder."""

    config: Path
    port: int
    pacs_port: int
    made: Sequence[list[Path]]
    records: Sequence[Record]
    empty: Path

    @property
    def data(self) -> Path:
        return self.config.parent / "ich-node-data"


def record(folder: Path, studies: int, slices: int, seed: int) -> Recorded:
    """Let studies go through a node from its first start on, and write down what it changes."""
    made = [
        write(head_series(seed * 1000 + number, slices), folder / "ct" / str(number))
        for number in range(studies)
    ]
    port, pacs_port = free_port(), free_port()
    config = configuration(
        folder,
        port,
        [("pacs", "PACS", pacs_port)],
        bundle=str(write_tiny_bundle(folder / "bundle")),
        quiet_seconds=_QUIET_S,
    )
    data = folder / "ich-node-data"
    data.mkdir(mode=0o700)
    disk = lay_over(data, folder / "layer", recording=True)
    pacs, serving = _Witness(pacs_port, disk), Serving(config, disk.environment)
    sent = Sent(acknowledged=_Acknowledged(disk))
    pacs.up()
    serving.start()
    try:
        _send(port, made, sent)
        _wait_until_all_ended(config, studies)
    finally:
        serving.kill_group()
        pacs.down()
    assert disk.log is not None
    kept = folder / "recorded"
    data.rename(kept)  # so that its inode, the root of the record, stays its own
    return Recorded(config, port, pacs_port, made, read_log(disk.log), kept)


def _send(port: int, studies: Sequence[list[Path]], sent: Sent) -> None:
    threads = [
        threading.Thread(target=send_until_acknowledged, args=(port, paths, sent), daemon=True)
        for paths in studies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_DEADLINE_S)


def _uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def _wait_until_all_ended(config: Path, studies: int) -> None:
    engine = open_engine(load_settings(config).database_url)
    with suppress(TimeoutError):
        wait_for(lambda: campaign._all_ended(engine, studies), _DEADLINE_S, "ended studies")
    engine.dispose()


def moment(records: Sequence[Record], chance: random.Random) -> int:
    """Choose a moment: any, or just when somebody outside has learnt something."""
    told = [number + 1 for number, one in enumerate(records) if one.kind == MARK]
    return chance.choice(told) if chance.random() < 0.5 else chance.randrange(len(records) + 1)


def cut(recorded: Recorded, at: int, seed: int, predictor: Predictor | None) -> Report:
    """Cut the power at a moment, let a node live on what is left, and count at the end.

    Parameters
    ----------
    predictor
        For a life in this process; None for one of `ich-node serve`, which loads its own.
    """
    began = time.monotonic()
    played = Playback(recorded.data, recorded.empty.stat().st_ino)
    played.play(recorded.records[:at])
    shutil.rmtree(recorded.data, ignore_errors=True)
    played.cut(recorded.data, random.Random(seed))
    pacs, sent = _told(recorded, at)
    left = [[p for p in paths if _uid(p) not in sent.acknowledged] for paths in recorded.made]
    pacs.up()
    try:
        if predictor is None:
            _serve(recorded, left, sent)
        else:
            _live(recorded, predictor, left, sent)
    finally:
        pacs.down()
    report = Report(seed, studies=len(recorded.made))
    engine = open_engine(load_settings(recorded.config).database_url)
    campaign._count(report, engine, recorded.made, sent, pacs)
    engine.dispose()
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _told(recorded: Recorded, at: int) -> tuple[FlappingPacs, Sent]:
    """Return the PACS and the senders as they were at a moment."""
    pacs, sent = FlappingPacs(recorded.pacs_port), Sent()
    for one in recorded.records[:at]:
        who, *words = one.first.decode().split() if one.kind == MARK else [""]
        if who == "sender":
            sent.acknowledged[words[0]] = words[1]
        elif who == "pacs":
            pacs.received.append((words[0], words[1], words[2], words[3]))
    return pacs, sent


def _serve(recorded: Recorded, left: Sequence[list[Path]], sent: Sent) -> None:
    serving = Serving(recorded.config)
    serving.start()
    try:
        _send(recorded.port, [paths for paths in left if paths], sent)
        _wait_until_all_ended(recorded.config, len(recorded.made))
    finally:
        serving.kill_group()


def _live(recorded: Recorded, predictor: Predictor, left: Sequence[list[Path]], sent: Sent) -> None:
    images = [path for paths in left for path in paths]
    settings, studies = load_settings(recorded.config), len(recorded.made)
    with suppress(TimeoutError):
        live(settings, predictor, images, sent, lambda e: campaign._all_ended(e, studies))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--served", type=int, default=5, help="So many with `ich-node serve`.")
    parser.add_argument("--studies", type=int, default=2)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="Work here and leave everything for a look.")
    chosen = parser.parse_args()
    if needs():
        sys.exit(needs())
    chance, total, moments = random.Random(chosen.seed), Report(chosen.seed), []
    with tempfile.TemporaryDirectory() as name:
        recorded = record(chosen.keep or Path(name), chosen.studies, chosen.slices, chosen.seed)
        logs.configure("power")
        logging.disable(logging.CRITICAL)  # many lives say the same many times
        predictor = load_predictor(recorded.config.parent / "bundle")
        hasten()
        for run in range(chosen.runs):
            at = moment(recorded.records, chance)
            moments.append(at)
            loaded = None if run < chosen.served else predictor
            found = cut(recorded, at, chosen.seed * 1000 + run, loaded)
            said = "well" if found.clean else f"NOT well: {asdict(found)}"
            print(f"run {run}, cut at {at}: {said}", file=sys.stderr, flush=True)
            total.add(found)
        look_for_patients(total, recorded.config.parent)
    print(f"runs             {chosen.runs}, cut at {len(set(moments))} of {len(recorded.records)}")
    total.show()
    return 0 if total.clean else 1


if __name__ == "__main__":
    sys.exit(main())
