"""Imported by Python at the start of every process that has this folder on its PYTHONPATH.

Strikes at named points as the rules in the file named by TEST_FAULTS say. The product knows
nothing of it.
"""

import json
import os
import signal
import time
from pathlib import Path

from ich_node import faults, lifetime, supervise
from ich_node.pipeline import at_hand, duties, pauses, reconcile

RULES = Path(os.environ["TEST_FAULTS"])
TOLD = json.loads(RULES.read_text())


def strike(name: str, about: str) -> None:
    """Act by the first rule for this point that is not used up."""
    for number, rule in enumerate(TOLD["rules"]):
        meant = rule["point"] == name and about.startswith(rule["about"])
        if meant and any(_claim(f"{RULES}.{number}.{use}") for use in range(rule["times"])):
            ACTS[rule["act"]]()
            return


def _claim(path: str) -> bool:
    """Take one use of a rule; whatever dies next, it is used."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _lose_device() -> None:
    """From now on nothing that is computed in this process succeeds, as on a GPU that failed."""
    from ich_node.infer.predictor import Predictor

    def run(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ... to debug.")

    Predictor.run = run


ACTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill_group": lambda: os.killpg(0, signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "crash": os.abort,
    "lose_device": _lose_device,
    "hang": lambda: time.sleep(3600),
}
faults.install(strike)
if TOLD["patience_s"] is not None:  # hours and half-minutes are too long for a test
    supervise.WATCHDOG_S = TOLD["patience_s"]
    lifetime._BEAT_S = TOLD["patience_s"] / 8
if TOLD["period_s"] is not None:
    reconcile.PERIOD_S = duties.AGAIN_S = pauses._FIRST_PAUSE_S = TOLD["period_s"]
if TOLD["limit_s"] is not None:
    at_hand.LIMITS_S = dict.fromkeys(at_hand.LIMITS_S, TOLD["limit_s"])
