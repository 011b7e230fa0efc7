import pytest
import torch

from ich_node.infer.predictor import load_predictor


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny networks are faster in one thread than in several that wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture
def predictor(tiny_bundle):
    return load_predictor(tiny_bundle, "cpu", "fp32")
