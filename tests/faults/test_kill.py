"""Killed at random moments, stopped, or met by a series that kills: every study ends, once."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pydicom
import pytest

from deploy.demo.running import RunningNode, configuration, free_port, running_node, wait_for
from ich_node.settings import load_settings
from ich_node.store import overview
from ich_node.store.engine import open_engine
from tests.faults.actors import Serving
from tests.faults.campaign import campaign
from tests.faults.striking import Rule, struck_node
from tests.support.dcmtk import storescu
from tests.support.orthanc import AE_TITLE, Orthanc, running_orthanc
from tests.support.series import head_series, write

_DEADLINE_S = 240.0


@pytest.mark.timeout(600)
def test_twenty_kills_while_studies_go_through(tmp_path: Path) -> None:
    """Nothing acknowledged is lost, every study has its results, none has them twice."""
    report = campaign(tmp_path, kills=20, studies=12, slices=16, seed=2026)
    assert sum(report.kills.values()) == 20
    assert report.acknowledged == 12 * 16
    assert report.clean, report


def test_a_series_that_kills_is_put_aside_and_the_next_is_answered(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """After three crashes in one stage it is `failed`, with the reason; `retry` runs it again."""
    poison, good = (write(head_series(seed, 8), tmp_path / str(seed)) for seed in (1, 2))
    series = str(pydicom.dcmread(poison[0], stop_before_pixels=True).SeriesInstanceUID)
    rule = Rule("infer.done", "crash", about=series, times=3)
    with struck_node(tmp_path, tiny_bundle, [rule]) as node:
        first = node.send(poison)
        node.wait_for(first, "failed")
        assert node.used() == 3
        second = node.send(good)
        node.wait_for(second, "delivered")
        [told] = node.story(first)["series"]
        assert told["reason"] == "crashed"
        assert (
            "3 processes ended while they were at its stage 'infer'"
            in told["revisions"][0]["reason_text"]
        )
        assert node.objects(first) == {}
        assert "analysed again" in node.command("retry", first).stdout
        node.wait_for(first, "delivered")
        assert node.objects(first) == node.objects(second) == {"SEG": 1, "SR": 1}


@pytest.mark.dcmtk
@pytest.mark.orthanc
def test_twenty_studies_with_the_worker_killed_give_twenty_reports(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """Four parallel senders, 40 slices each, `kill -9` of the worker in the middle."""
    studies = [write(head_series(100 + n, 40), tmp_path / "ct" / str(n)) for n in range(20)]
    uids = [str(pydicom.dcmread(paths[0]).StudyInstanceUID) for paths in studies]
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        port = free_port()
        config = configuration(
            tmp_path,
            port,
            [("orthanc", AE_TITLE, orthanc.dicom_port)],
            bundle=str(tiny_bundle),
            quiet_seconds=2.0,
        )
        with running_node(config, port) as node:
            _send_from_four(port, studies)
            wait_for(lambda: len(_delivered(node)) >= 5, _DEADLINE_S, "five delivered studies")
            os.kill(Serving.of(node.process.pid)["work"], signal.SIGKILL)
            wait_for(lambda: len(_delivered(node)) == 20, _DEADLINE_S, "twenty delivered studies")
        _exactly_one_each(orthanc, uids)


def _send_from_four(port: int, studies: list[list[Path]]) -> None:
    ended: list[int] = []

    def sender(which: int) -> None:
        ended.extend(storescu(port, paths).returncode for paths in studies[which::4])

    threads = [threading.Thread(target=sender, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [0] * len(studies)


def _delivered(node: RunningNode) -> list[str]:
    engine = open_engine(load_settings(node.config).database_url)
    try:
        return [
            study["study_instance_uid"]
            for study in overview.studies(engine)
            if {series["state"] for series in study["series"]} <= {"delivered", "confirmed"}
        ]
    finally:
        engine.dispose()


def _exactly_one_each(orthanc: Orthanc, uids: list[str]) -> None:
    for modality in ("SEG", "SR"):
        found = [tags for tags in orthanc.instances() if tags["Modality"] == modality]
        assert Counter(tags["StudyInstanceUID"] for tags in found) == dict.fromkeys(uids, 1)
