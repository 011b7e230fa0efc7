import pytest
import torch

from ich_node.infer.predictor import load_predictor
from tests.training.phantom import write_phantoms
from training.seeds import VALIDATION


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny networks are faster in one thread than in several that wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def predictor(tiny_bundle):
    return load_predictor(tiny_bundle, "cpu", "fp32")


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """Four to learn from."""
    return write_phantoms(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="session")
def held_out(tmp_path_factory):
    """Four to validate by."""
    return write_phantoms(tmp_path_factory.mktemp("validation"), VALIDATION)
