"""Whether there is room for what comes: the disk keeps `storage.min_free_gb` free.

What is under way needs that room to finish: results are built and sent while nothing new is taken.
"""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field

from ich_node import logs
from ich_node.settings import Storage

_log = logs.get(__name__)

_GB = 1e9


@dataclass
class Room:
    """Looks at the disk each time it is asked; says so once when it falls short, and once after."""

    storage: Storage
    _short: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def holds(self, size: int) -> bool:
        """Tell whether `size` bytes more leave free what must stay free.

        Raises
        ------
        OSError
            The data folder is gone.
        """
        free = shutil.disk_usage(self.storage.data_dir).free - size
        short = free < self.storage.min_free_gb * _GB
        with self._guard:
            turned, self._short = short is not self._short, short
        if turned:
            self._tell(free / _GB, short)
        return not short

    def _tell(self, free_gb: float, short: bool) -> None:
        known = {"free_gb": round(free_gb, 1), "min_free_gb": self.storage.min_free_gb}
        if short:
            _log.error(
                "the disk is below storage.min_free_gb; nothing more is taken until room is made",
                **known,
            )
        else:
            _log.warning("the disk has room again; images are taken", **known)
