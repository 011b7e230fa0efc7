"""The self-test, step by step: what is done, what must come of it, what to do where it does not.

It proves the way through the node: port, database, model, objects, destination. What the model
says counts for the shipped bundle only, which is known to find this bleed.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pydicom

from ich_node.deliver import scu
from ich_node.deliver.standin import StandInPacs
from ich_node.errors import IchNodeError
from ich_node.report import decode
from ich_node.selftest.head import Head, load_head
from ich_node.selftest.judge import Truth, data_set_sha256, overlap, truth_of
from ich_node.selftest.report import Outcome, Report, Step
from ich_node.selftest.running import (
    StartedNode,
    configuration,
    free_port,
    log_tail,
    started_node,
    stop,
    wait_for,
    wait_until_ready,
)
from ich_node.selftest.series import write_series
from ich_node.settings import DATABASE_NAME, Destination, Model, Settings, Storage
from ich_node.states import ARRIVED, DeliveryState, SeriesState
from ich_node.store import overview
from ich_node.store.engine import open_engine

_SEED = 900_602
_SENDER, _PACS = "SELFTEST", "SELFTEST_PACS"
_QUIET_S = 1.0
_DEADLINE_S = 300.0
_SMALLEST_DICE = 0.6
_LARGEST_DISTANCE_MM = 10.0


class _Failed(Exception):
    """A step did not come out as it must; the text says what was expected."""


class _OtherModel(Exception):
    """What would be a failure of the shipped model, and is the own matter of another."""


@dataclass(frozen=True)
class _Bench:
    """What the steps work on."""

    node: StartedNode
    pacs: StandInPacs
    ae_title: str
    shipped_model: bool
    head: Head
    images: list[Path]
    truth: Truth
    study: str


def run(settings: Settings, tell: Callable[[Step], None]) -> Report:
    """Send a simulated bleed through a node of its own and judge what comes back.

    The node has the site's model and AE title; its folder, its ports and its peers are its own, so
    that it disturbs no daemon. Every process is ended, also on SIGINT, SIGTERM and SIGHUP.

    Parameters
    ----------
    tell
        Called with each step when it has ended.
    """
    began = time.monotonic()
    with _ending_in_order(), _bench(settings) as bench:
        steps: list[Step] = []
        for name, act, advice in _STEPS:
            steps.append(_step(name, act, bench))
            tell(steps[-1])
            if steps[-1].outcome is Outcome.FAILED:
                tail = tuple(log_tail(bench.node))
                return Report(False, _since(began), tuple(steps), advice, tail)
        return Report(True, _since(began), tuple(steps))


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: through every `finally`."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bench(settings: Settings) -> Iterator[_Bench]:
    """Start a node and a stand-in PACS in a temporary folder, and write the series."""
    with tempfile.TemporaryDirectory(
        prefix="ich-node-selftest-", ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        pacs = StandInPacs.start(folder / "pacs", _PACS)
        port = free_port()
        config = configuration(
            folder,
            port,
            [("selftest", _PACS, pacs.port)],
            ae_title=settings.dicom.ae_title,
            quiet_seconds=_QUIET_S,
            senders=(_SENDER,),
            min_free_gb=0,
            bundle=settings.model.bundle,
            device=settings.model.device,
            precision=settings.model.precision,
        )
        try:
            with started_node(config, port) as node:
                head = load_head(_SEED)
                images = write_series(
                    head.hu, folder / "ct", spacing_mm=head.spacing_mm, seed=_SEED
                )
                yield _Bench(
                    node=node,
                    pacs=pacs,
                    ae_title=settings.dicom.ae_title,
                    shipped_model=settings.model.bundle == Model().bundle,
                    head=head,
                    images=images,
                    truth=truth_of(head.bleed, images[0], head.spacing_mm),
                    study=str(pydicom.dcmread(images[0], stop_before_pixels=True).StudyInstanceUID),
                )
        finally:
            pacs.stop()


def _step(name: str, act: Callable[[_Bench], str], bench: _Bench) -> Step:
    """Run a step; whatever it raises is its failure, for nothing here may go wrong."""
    began = time.monotonic()
    try:
        return Step(name, Outcome.PASSED, act(bench), _since(began))
    except _OtherModel as error:
        text = f"{error}; no failure, for the model is not the shipped one"
        return Step(name, Outcome.WARNING, text, _since(began))
    except Exception as error:
        ours = isinstance(error, _Failed | IchNodeError | OSError)
        text = str(error) if ours else f"{type(error).__name__}: {error}"
        return Step(name, Outcome.FAILED, text, _since(began))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 2)


def _start(bench: _Bench) -> str:
    try:
        wait_until_ready(bench.node)
    except RuntimeError:
        _must_run(bench.node)  # says it in fewer words
        raise
    return f"{bench.ae_title} answers on 127.0.0.1:{bench.node.port}"


def _send(bench: _Bench) -> str:
    node = Destination(name="node", ae_title=bench.ae_title, host="127.0.0.1", port=bench.node.port)
    images = [("image", path) for path in bench.images]
    # In a thread: a signal breaks off the wait and not the association, which ends with the node.
    sender = ThreadPoolExecutor(1)
    verdicts = sender.submit(scu.send, node, _SENDER, images).result()
    sender.shutdown()
    unsent = [verdict for verdict in verdicts if not verdict.stored]
    if unsent:
        _must_run(bench.node)
        raise _Failed(f"{len(unsent)} of {len(verdicts)} images not stored: {unsent[0].text}")
    return f"{len(verdicts)} images of a simulated head stored by C-STORE"


def _analyse(bench: _Bench) -> str:
    story = wait_for(lambda: _ended(bench), _DEADLINE_S, "analysed series")
    model = _revision(story)["model"]
    return f"series {story['series'][0]['state']}, by {model['name']} {model['version']}"


def _ended(bench: _Bench) -> dict[str, Any] | None:
    """Return the story of the study once it is built; raise where it will not be."""
    _must_run(bench.node)
    story = _story(bench)
    if not story["series"][0]["revisions"]:
        return None
    state, revision = story["series"][0]["state"], _revision(story)
    if state in (SeriesState.REFUSED, SeriesState.FAILED):
        raise _Failed(f"the series is {state}: {revision['reason_text']}")
    built = (SeriesState.REPORTED, SeriesState.DELIVERED, SeriesState.CONFIRMED)
    return story if state in built else None


def _return(bench: _Bench) -> str:
    story = wait_for(lambda: _delivered(bench), _DEADLINE_S, "delivered result")
    kept = {item["kind"]: Path(item["path"]) for item in _revision(story)["results"]}
    arrived = _arrived(bench)
    if arrived.keys() != kept.keys() or "sr" not in kept:
        raise _Failed(f"{_names(arrived)} arrived, the node kept {_names(kept)}; an SR is expected")
    for kind, path in arrived.items():
        if data_set_sha256(path) != data_set_sha256(kept[kind]):
            raise _Failed(f"the {kind.upper()} that arrived is not the one that the node kept")
    return f"{_names(arrived)} arrived by C-STORE, byte for byte what the node kept"


def _delivered(bench: _Bench) -> dict[str, Any] | None:
    _must_run(bench.node)
    story = _story(bench)
    deliveries = _revision(story)["deliveries"]
    failed = [item["text"] for item in deliveries if item["state"] == DeliveryState.FAILED]
    if failed:
        raise _Failed(f"the delivery failed: {failed[0]}")
    done = deliveries and all(item["state"] in ARRIVED for item in deliveries)
    return story if done else None


def _segmentation(bench: _Bench) -> str:
    """The SEG decodes, and its mask lies on the blood in patient space."""
    subtype = bench.head.subtype
    path = _arrived(bench).get("seg")
    if path is None:
        raise _of_the_model(bench, f"no SEG: the model found no bleed; expected {subtype}")
    seg = pydicom.dcmread(path)
    found = overlap(seg, bench.truth)
    text = (
        f"{', '.join(decode.segments(seg))}; Dice {found.dice:.2f} with the true bleed, "
        f"centroids {found.distance_mm:.1f} mm apart"
    )
    if found.dice < _SMALLEST_DICE or found.distance_mm > _LARGEST_DISTANCE_MM:
        expected = f"expected at least {_SMALLEST_DICE} and at most {_LARGEST_DISTANCE_MM:g} mm"
        raise _of_the_model(bench, f"{text}; {expected}")
    return text


def _report(bench: _Bench) -> str:
    """The SR says which class it is."""
    subtype = bench.head.subtype
    sr = pydicom.dcmread(_arrived(bench)["sr"])
    named = {group.subtype: group.said for group in decode.report(sr).groups}
    said = ", ".join(f"{name} {found.volume_ml:.1f} mL" for name, found in named.items())
    if subtype not in named:
        raise _of_the_model(bench, f"the SR names {said or 'no bleed'}; expected {subtype}")
    return f"the SR names {said}"


def _stop(bench: _Bench) -> str:
    if not stop(bench.node):
        raise _Failed("the node did not end by itself on SIGTERM, or left a process; it was killed")
    return "the node and all its processes ended"


_CHECK = "run `ich-node check`: it looks at configuration, disk, database and model one by one"
_LOOPBACK = "see the lines above; look whether something closes ports of 127.0.0.1 to this user"
_WRONG = "send nothing to this node for reading, and report these lines: results may be misplaced"
_STEPS: tuple[tuple[str, Callable[[_Bench], str], str], ...] = (
    ("start", _start, _CHECK),
    ("send", _send, _LOOPBACK),
    ("analyse", _analyse, _CHECK),
    ("return", _return, _LOOPBACK),
    ("segmentation", _segmentation, _WRONG),
    ("report", _report, _WRONG),
    ("stop", _stop, "see the lines above; `ps` shows whether a process of it is left"),
)


def _of_the_model(bench: _Bench, text: str) -> Exception:
    return _Failed(text) if bench.shipped_model else _OtherModel(text)


def _must_run(node: StartedNode) -> None:
    """Raise, with what it said of itself, if the node has ended."""
    code = node.process.poll()
    if code is not None:
        said = [line for line in log_tail(node, 1000) if line.startswith("ich-node: ")]
        why = said[0].removeprefix("ich-node: ") if said else "see the lines below"
        raise _Failed(f"ich-node serve ended with status {code}: {why}")


def _story(bench: _Bench) -> dict[str, Any]:
    """Return what the node's database tells of the study, once it holds an image of it."""
    folder = bench.node.config.parent / Storage().data_dir
    engine = open_engine(f"sqlite:///{folder / DATABASE_NAME}")
    try:
        return overview.show(engine, bench.study)
    finally:
        engine.dispose()


def _revision(story: Mapping[str, Any]) -> dict[str, Any]:
    return dict(story["series"][0]["revisions"][-1])


def _arrived(bench: _Bench) -> dict[str, Path]:
    """Return the files that came back, by kind."""
    return {
        str(pydicom.dcmread(path, stop_before_pixels=True).Modality).lower(): path
        for path in bench.pacs.received()
    }


def _names(kinds: Mapping[str, Path]) -> str:
    return " and ".join(sorted(kind.upper() for kind in kinds)) or "nothing"
