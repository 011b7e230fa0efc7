"""What the slice network looks at: Grad-CAM of `any` and the mean of the deepest map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.visualize import GradCAM
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ich_node.infer.network import SmartNet
from ich_node.infer.predictor import Predictor
from ich_node.infer.preprocess import preprocess

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Look:
    """One slice at the network's size, each (row, column).

    ``grad_cam`` 0..1, what speaks for a bleed; ``activation`` 0..1, sigmoid of the mean over the
    channels of the deepest map; ``outline`` 0 or 1: the truth or a reader's box.
    """

    title: str
    image: Plane
    outline: Plane
    mask: Plane
    grad_cam: Plane
    activation: Plane


class _SliceClasses(nn.Module):
    """The classes of single slices, as one module that Grad-CAM can take hold of."""

    def __init__(self, network: SmartNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 6) logits."""
        logits: Tensor = self.network.slice_head(self.network.slices(x)[0])
        return logits


def look_at(
    predictor: Predictor, title: str, hu: npt.NDArray[np.float32], marked: npt.NDArray[np.bool_]
) -> Look:
    """Look at one slice.

    Parameters
    ----------
    hu
        (row, column), HU.
    marked
        Of the same shape: the truth, or a box.
    """
    image = preprocess(hu[None], predictor.bundle.preprocessing)[0]
    x = torch.from_numpy(image)[None, None].to(predictor.device)
    with torch.enable_grad():
        module = _SliceClasses(predictor.network).eval()
        seen = GradCAM(module, "network.encoder.layer4", postprocessing=_to_one)
        heat = seen(x.clone().requires_grad_(), class_idx=0)
    with torch.inference_mode():
        raw = predictor.run(hu[None])
        mask = next(predictor.mask_logits(raw.maps))[0, 0]
        deepest = predictor.network.encoder(x)[4].mean(1, keepdim=True)
        activation = interpolate(torch.sigmoid(deepest), image.shape, mode="bilinear")
    small = interpolate(torch.from_numpy(marked[None, None]).float(), image.shape, mode="area")
    return Look(
        f"{title}\nany {predictor.slice_probabilities(raw)[0, 0]:.2f}",
        image,
        (small[0, 0] >= 0.5).float().numpy(),
        (torch.sigmoid(mask) >= predictor.bundle.mask_threshold).float().numpy(),
        np.asarray(heat[0, 0].detach().cpu(), np.float32),
        activation[0, 0].cpu().numpy(),
    )


def _to_one(heat: Tensor) -> Tensor:
    """Scale what is at least 0 so that its largest value is 1 (MONAI's own scaling inverts it)."""
    return heat / heat.amax().clamp(min=1e-12)
