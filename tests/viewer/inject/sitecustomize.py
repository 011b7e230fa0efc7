"""Imported by Python at the start of every process that has this folder on its PYTHONPATH.

Puts a network in the place of the real one which knows the blood by its HU: the true mask is known,
and no process needs torch. The product knows nothing of it.
"""

import sys
import types

import numpy as np

from ich_node.codes import SUBTYPES
from ich_node.records import CtVolume, Prediction
from tests.support.volumes import MODEL, make_prediction

_LOW_HU, _HIGH_HU = 65, 80
_LABEL = 1 + SUBTYPES.index("intraparenchymal")


class Predictor:
    identity = MODEL

    def predict(self, volume: CtVolume) -> Prediction:
        blood = (volume.hu > _LOW_HU) & (volume.hu < _HIGH_HU)
        return make_prediction(np.where(blood, _LABEL, 0).astype(np.uint8))


standin = types.ModuleType("ich_node.infer.predictor")
standin.Predictor = Predictor
standin.load_predictor = lambda *_, **__: Predictor()
sys.modules[standin.__name__] = standin
