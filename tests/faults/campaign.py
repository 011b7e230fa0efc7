"""Kills at random while studies go through: nothing acknowledged is lost, nothing comes twice.

`python -m tests.faults.campaign --kills 500 --studies 300 --seed 1` prints the counts; exit status
0 only if all that must be none is none. The suite runs a short one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import queue
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pydicom

from deploy.demo.running import configuration, free_port, wait_for
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import DatabaseError, Engine, open_engine
from tests import identity
from tests.faults.actors import FlappingPacs, Sent, Serving, send_until_acknowledged
from tests.support.peers import data_of
from tests.support.series import head_series, write
from training.tiny import write_tiny_bundle

_SENDERS = 4
_PAUSE_S = (0.3, 4.0)  # between two kills
_UP_S, _DOWN_S = (2.0, 15.0), (0.5, 4.0)  # how long the PACS is there, and away
_QUIET_S = 15.0  # longer than a sender needs to come back, unless the machine is very busy
_GROUP_SHARE = 0.25
_LAST_S = 600.0


@dataclass
class Report:
    """The counts. ``lost``, ``without_results``, ``second_objects``, ``identities`` must be none.

    So must ``without_fault`` be, runs that prove nothing since nothing failed in them; and every
    one of the ``images`` must be acknowledged in the end, else their senders still wait.
    ``identities`` are logs that name a patient.
    ``revisions`` are those beyond the first of a study: a sender came back later than the node
    waits for more images, and the results of the whole study followed those of its first part.
    """

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    without_fault: int = 0
    studies: int = 0
    images: int = 0
    acknowledged: int = 0
    lost: int = 0
    without_results: int = 0
    second_objects: int = 0
    identities: int = 0
    revisions: int = 0
    other_states: dict[str, int] = field(default_factory=dict)
    pacs_away: int = 0
    seconds: float = 0.0

    def add(self, other: Report) -> None:
        """Count another run in."""
        self.without_fault += other.without_fault
        self.studies += other.studies
        self.images += other.images
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.without_results += other.without_results
        self.second_objects += other.second_objects
        self.identities += other.identities
        self.revisions += other.revisions
        self.seconds = round(self.seconds + other.seconds, 1)
        for state, count in other.other_states.items():
            self.other_states[state] = self.other_states.get(state, 0) + count

    def show(self) -> None:
        """Print the counts."""
        for key, value in asdict(self).items():
            print(f"{key:<16} {value}")
        print("all well" if self.clean else "NOT well")

    @property
    def clean(self) -> bool:
        """Tell whether all is well."""
        wrong = (self.lost, self.without_results, self.second_objects, self.identities)
        if any(wrong) or self.other_states or self.without_fault:
            return False
        return self.acknowledged == self.images > 0


@contextmanager
def _senders(port: int, studies: Sequence[list[Path]], sent: Sent) -> Iterator[queue.Queue[int]]:
    """Send the studies whose numbers are put into the queue."""
    due: queue.Queue[int] = queue.Queue()

    def work() -> None:
        while (number := due.get()) >= 0:
            send_until_acknowledged(port, studies[number], sent)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(_SENDERS)]
    for thread in threads:
        thread.start()
    yield due
    for _ in threads:
        due.put(-1)
    for thread in threads:
        thread.join(_LAST_S)


def _flap(pacs: FlappingPacs, chance: random.Random, done: threading.Event) -> None:
    while not done.wait(chance.uniform(*_UP_S)):
        pacs.down()
        done.wait(chance.uniform(*_DOWN_S))
        pacs.up()


def _kill_one(serving: Serving, chance: random.Random) -> str | None:
    """Kill a process, or all; return what was killed."""
    children = serving.children()
    if chance.random() < _GROUP_SHARE:
        serving.kill_group()
        serving.start()
        return "group"
    if not children:
        return None
    name = chance.choice(sorted(children))
    with suppress(ProcessLookupError):
        os.kill(children[name], signal.SIGKILL)
        return name
    return None


def campaign(folder: Path, kills: int, studies: int, slices: int, seed: int) -> Report:
    """Run one. Every choice follows from the seed; what the node does at each moment does not."""
    began = time.monotonic()
    chance = random.Random(seed)
    report, sent = Report(seed, studies=studies), Sent()
    made = [
        write(head_series(seed * 1000 + number, slices), folder / "ct" / str(number))
        for number in range(studies)
    ]
    pacs, port = FlappingPacs(free_port()), free_port()
    config = configuration(
        folder,
        port,
        [("pacs", "PACS", pacs.port)],
        bundle=str(write_tiny_bundle(folder / "bundle")),
        quiet_seconds=_QUIET_S,
    )
    serving, over, struck = Serving(config), threading.Event(), Counter[str]()
    pacs.up()
    serving.start()
    flapping = threading.Thread(target=_flap, args=(pacs, random.Random(seed + 1), over))
    flapping.start()
    try:
        with _senders(port, made, sent) as due:
            released = 0
            while struck.total() < kills:
                # A little ahead of the kills, so that there is always something to hit.
                wanted = min(studies, 4 + struck.total() * studies // max(1, kills))
                for number in range(released, wanted):
                    due.put(number)
                released = max(released, wanted)
                time.sleep(chance.uniform(*_PAUSE_S))  # the moment is the experiment
                name = _kill_one(serving, chance)
                if name is not None:
                    struck[name] += 1
                    _tell(f"\r{struck.total()} kills, {len(sent.acknowledged)} images")
            for number in range(released, studies):
                due.put(number)
        over.set()
        flapping.join()
        engine = open_engine(load_settings(config).database_url)
        _wait_for_the_rest(engine, studies)
        serving.stop()
        _count(report, engine, made, sent, pacs)
        engine.dispose()
    finally:
        over.set()
        serving.stop()
        pacs.down()
    look_for_patients(report, folder)
    report.kills = dict(struck)
    report.pacs_away = pacs.away
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(line)


def _wait_for_the_rest(engine: Engine, studies: int) -> None:
    """Return when every study has ended, or nothing has changed for a while: then it is stuck."""
    before = Counter[str]()

    def moved() -> bool:
        return _states(engine) not in (None, before) or _all_ended(engine, studies)

    with suppress(TimeoutError):
        while not _all_ended(engine, studies):
            wait_for(moved, _LAST_S, "another ended study")
            before = _states(engine) or before
            _tell(f"\r{dict(before)}")


def _all_ended(engine: Engine, studies: int) -> bool:
    states = _states(engine)
    return (
        states is not None
        and states.total() == studies
        and set(states) <= {"delivered", "failed", "refused"}
    )


def _states(engine: Engine) -> Counter[str] | None:
    """Return how many series are in each state; None where the database is busy."""
    try:
        listed = overview.studies(engine)
    except DatabaseError:
        return None
    return Counter(series["state"] for study in listed for series in study["series"])


def _count(
    report: Report, engine: Engine, made: Sequence[list[Path]], sent: Sent, pacs: FlappingPacs
) -> None:
    listed = {item["study_instance_uid"]: item for item in overview.studies(engine)}
    report.images = sum(len(paths) for paths in made)
    report.acknowledged = len(sent.acknowledged)
    report.lost = sum(
        not _is_there(engine, uid, digest) for uid, digest in sent.acknowledged.items()
    )
    states = Counter(series["state"] for item in listed.values() for series in item["series"])
    report.other_states = {name: count for name, count in states.items() if name != "delivered"}
    objects: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for study, modality, uid, digest in pacs.received:
        objects.setdefault((study, modality), set()).add((uid, digest))
    studies = [str(pydicom.dcmread(paths[0]).StudyInstanceUID) for paths in made]
    for study in studies:
        found = [objects.get((study, modality), set()) for modality in ("SEG", "SR")]
        report.without_results += any(not item for item in found)
        held = listed.get(study, {"series": []})["series"]
        due = max((series["revision"] for series in held), default=1)
        report.revisions += due - 1
        report.second_objects += sum(max(0, len(item) - due) for item in found)


def look_for_patients(report: Report, folder: Path) -> None:
    """Count the logs below a folder that name a patient, and say which."""
    found = identity.named_in_logs(folder)
    report.identities += len(found)
    for line in found:
        print(line, file=sys.stderr)


def _is_there(engine: Engine, uid: str, digest: str) -> bool:
    """Tell whether an acknowledged instance has its row, and its file the bytes that were sent."""
    from ich_node.store import instances

    found = instances.find(engine, uid)
    return (
        found is not None
        and found.path.is_file()
        and hashlib.sha256(data_of(found.path)).hexdigest() == digest
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="Work here and leave everything for a look.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.keep or Path(name)
        report = campaign(folder, chosen.kills, chosen.studies, chosen.slices, chosen.seed)
    report.show()
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
