"""Logging: one line an event, JSON off a terminal, never the patient's identity above DEBUG."""

from __future__ import annotations

import logging
import sqlite3
import sys
import traceback
import warnings
from typing import Any

import structlog

from ich_node.errors import IchNodeError, of_the_system

# dbos advertises at INFO.
_QUIET = ("dbos", "alembic", "sqlalchemy", "PIL")
# Their lines quote the values of elements, and so may name the patient; what follows from a peer
# that is away is told by our own line.
_SILENT = ("pydicom", "highdicom", "pynetdicom")


def configure(process: str, level: int = logging.INFO) -> None:
    """Send every log record of this process to standard error.

    Parameters
    ----------
    process
        Name of the process in each line (``receive``, ``work``, ``deliver``, ``serve``).
    level
        Lowest level shown.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer()
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer()
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    # Those of pydicom quote values, and count as of whoever called it.
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    quieten_libraries()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)


def quieten_libraries() -> None:
    """Let no library advertise, and those say nothing that quote what a peer sent."""
    for names, level in ((_QUIET, logging.WARNING), (_SILENT, logging.CRITICAL + 1)):
        for name in names:
            logging.getLogger(name).setLevel(level)


def cause(error: Exception) -> dict[str, str]:
    """Say what an error is and where it arose.

    Its text is given only where it is ours, the system's or SQLite's own: others quote the patient.
    An OSError that a library made up is one of the others.
    """
    place = "".join(traceback.format_tb(error.__traceback__))
    said = getattr(error, "orig", error)  # SQLAlchemy's text quotes the statement too
    ours = isinstance(said, IchNodeError | sqlite3.Error) or of_the_system(said)
    text = str(said) if ours else ""
    name = type(error).__name__
    return {"error": f"{name}: {text}" if text else name, "place": place}


def get(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module; its events carry key-value pairs."""
    return structlog.stdlib.get_logger(name)
