"""Facts are read from the elements that are named, so that no others need be in memory."""

from typing import Any

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from ich_node.complete.facts import KEYWORDS, facts_of
from ich_node.settings import Selection


def test_no_element_is_looked_at_but_those_named() -> None:
    asked: set[Any] = set()

    class Watched(Dataset):
        def get(self, key: Any, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

    header = Watched()
    header.SOPClassUID = CTImageStorage
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    facts_of([header, header], Selection())
    assert asked == set(KEYWORDS)
