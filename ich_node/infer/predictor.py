"""From a volume to a prediction: the network run, and what counts as a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, logit
from torch import Tensor

from ich_node import logs
from ich_node.codes import CLASSES, SUBTYPES
from ich_node.errors import ConfigError, DeviceLost
from ich_node.infer.bundle import Bundle, load_network, read_bundle
from ich_node.infer.network import SmartNet, VolumeSegmenter
from ich_node.infer.preprocess import preprocess, resize
from ich_node.records import ClassScore, CtVolume, ModelIdentity, Prediction

_log = logs.get(__name__)

# Slices that go through the slice network at once, and slices of maps through the 3D convolutions.
_BATCH = 8
_CHUNK = 32
# Where the memory of the device is not enough, these parts of them are tried in turn.
_SHARES = (2, 8)
# What PyTorch says when a device has failed and its context with it.
_LOST = ("CUDA error", "cuDNN error")


@dataclass(frozen=True)
class Raw:
    """The network's outputs at its own size, before any threshold.

    ``class_logits`` (6), ``slice_logits`` (slice, 6), ``features`` (slice, features) that both are
    made of; masks come by `mask_logits`.
    """

    class_logits: npt.NDArray[np.float64]
    slice_logits: npt.NDArray[np.float64]
    features: npt.NDArray[np.float32]
    maps: Tensor


@dataclass(frozen=True)
class Predictor:
    """A bundle loaded onto a device; ``share``: one so many-th of the usual goes there at once."""

    bundle: Bundle
    network: SmartNet
    device: torch.device
    bf16: bool
    share: int = 1

    @property
    def identity(self) -> ModelIdentity:
        """What stands in every result made with it."""
        return ModelIdentity(
            name=self.bundle.name,
            version=self.bundle.version,
            sha256=self.bundle.sha256,
            device=self.device.type,
            precision="bf16" if self.bf16 else "fp32",
        )

    def predict(self, volume: CtVolume) -> Prediction:
        """Read one volume of any size.

        Where the memory of the device is not enough, less goes there at once; at last the volume is
        read on the CPU. The log and the prediction's notes say so.

        Parameters
        ----------
        volume
            At least one slice.

        Returns
        -------
        Prediction
            On the grid of ``volume.hu``.

        Raises
        ------
        DeviceLost
            The device has failed; this process cannot use it any more.
        """
        for note, way in self._ways():
            if note:
                where = str(self.device)
                _log.warning("the memory of the device is not enough", device=where, now=note)
            found = way._try(volume)
            if found is not None:
                said = (f"{note}: the memory of {self.device} was not enough",) if note else ()
                return replace(found, notes=(*found.notes, *said))
            torch.cuda.empty_cache()
        raise MemoryError("not even the CPU has the memory for this volume")

    def _try(self, volume: CtVolume) -> Prediction | None:
        """Return the prediction, or None where the device has not the memory for it."""
        try:
            with torch.inference_mode():
                return self.conclude(self.run(volume.hu), volume.hu.shape)
        except torch.OutOfMemoryError:
            return None
        except RuntimeError as error:
            if not str(error).startswith(_LOST):
                raise
            text = f"{self.device} has failed: {str(error).splitlines()[0]}"
            raise DeviceLost(text) from error

    def _ways(self) -> Iterator[tuple[str, Predictor]]:
        """Give ways to read a volume, each with less memory of the device, and how to call it."""
        yield "", self
        for share in _SHARES:
            yield f"read in parts, 1/{share} at once", replace(self, share=share)
        cpu = torch.device("cpu")
        bf16 = self.bf16 and _computes_in_bf16(cpu)
        yield "read on the CPU", Predictor(self.bundle, _on_device(self.bundle, cpu), cpu, bf16)

    def conclude(self, raw: Raw, shape: tuple[int, ...]) -> Prediction:
        """Say what the outputs of a volume of this shape mean."""
        scores = judge(self.bundle, raw.class_logits)
        with torch.inference_mode():
            labels = self._labels(raw.maps, scores, shape)
        of_any = self.slice_probabilities(raw)[:, 0]
        return Prediction(scores, tuple(float(p) for p in of_any), labels, self.identity)

    def slice_probabilities(self, raw: Raw) -> npt.NDArray[np.float64]:
        """Return the calibrated probability of each of `codes.CLASSES` in each slice (slice, 6)."""
        pairs = np.array([self.bundle.slice_calibration[name] for name in CLASSES])
        return _sigmoid(pairs[:, 0] * raw.slice_logits + pairs[:, 1])

    def run(self, hu: npt.NDArray[np.float32]) -> Raw:
        """Run encoder, decoder and volume classifier over (slice, row, column) in HU."""
        image = torch.from_numpy(preprocess(hu, self.bundle.preprocessing))[:, None]
        features, maps = [], []
        for part in torch.split(image, max(1, _BATCH // self.share)):
            with self._precision():
                part_features, part_maps = self.network.slices(part.to(self.device))
            features.append(part_features.float())
            maps.append(part_maps.float().cpu())
        sequence = torch.cat(features)
        classes = self.network.volumes(sequence[None], torch.tensor([len(sequence)]))
        slices = self.network.slice_head(sequence)
        return Raw(
            classes[0].double().cpu().numpy(),
            slices.double().cpu().numpy(),
            sequence.cpu().numpy(),
            torch.cat(maps),
        )

    def mask_logits(self, maps: Tensor) -> Iterator[Tensor]:
        """Give (slice, 6, 256, 256) for one chunk of slices after another.

        Each chunk is run with the neighbours that reach into it, so that the cut is not seen.
        """
        halo = VolumeSegmenter.HALO
        chunked = max(1, _CHUNK // self.share)
        for first in range(0, len(maps), chunked):
            last = min(first + chunked, len(maps))
            low, high = max(0, first - halo), min(len(maps), last + halo)
            chunk = maps[low:high].transpose(0, 1)[None].to(self.device)
            with self._precision():
                logits = self.network.segmenter(chunk)
            yield logits[0].float().transpose(0, 1)[first - low : last - low].cpu()

    def _labels(
        self, maps: Tensor, scores: Mapping[str, ClassScore], shape: tuple[int, ...]
    ) -> npt.NDArray[np.uint8]:
        present = [index for index, name in enumerate(SUBTYPES) if scores[name].present]
        labels = np.zeros(shape, np.uint8)
        if not present:
            return labels
        planes = (plane for chunk in self.mask_logits(maps) for plane in chunk)
        for index, plane in enumerate(planes):
            labels[index] = self._plane_labels(plane, present, (shape[1], shape[2]))
        return labels

    def _plane_labels(
        self, logits: Tensor, present: list[int], size: tuple[int, int]
    ) -> npt.NDArray[np.uint8]:
        """Label one plane: a bleed where `any` says so, of the likeliest subtype that is present.

        Only what bleeds is compared: it is little, and comparing every voxel took half of the time
        of a study.
        """
        how, least = self.bundle.preprocessing, float(logit(self.bundle.mask_threshold))
        labels = torch.zeros(size, dtype=torch.uint8)
        if float(logits[0].max()) < least:  # what lies between two values is not above both
            return labels.numpy()
        bleeds = resize(logits[None, :1], size, how)[0, 0] >= least
        values = torch.tensor([1 + index for index in present], dtype=torch.uint8)
        subtypes = resize(logits[None, [1 + index for index in present]], size, how)[0]
        labels[bleeds] = values[subtypes[:, bleeds].argmax(0)]
        return labels.numpy()

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def load_predictor(bundle: str | Path, device: str = "auto", precision: str = "auto") -> Predictor:
    """Load a bundle and say what it runs on.

    Parameters
    ----------
    bundle
        A shipped bundle's name, or a folder.
    device
        ``auto`` (CUDA when there is one), ``cpu``, ``cuda``, ``cuda:0``.
    precision
        ``auto`` (bf16 where the processor computes in it, else fp32), ``fp32``, ``bf16``.

    Raises
    ------
    BundleError
        The bundle cannot be trusted or does not fit.
    ConfigError
        CUDA was asked for and is not there.
    """
    chosen = _device(device)
    read = read_bundle(bundle)
    try:
        network = _on_device(read, chosen)
    except RuntimeError as error:  # there, and of no use
        if device != "auto" or chosen.type == "cpu":
            raise
        _log.error("the device cannot be used; the CPU reads", device=str(chosen), cause=str(error))
        chosen = torch.device("cpu")
        network = _on_device(read, chosen)
    bf16 = precision == "bf16" or (precision == "auto" and _computes_in_bf16(chosen))
    torch.backends.cudnn.allow_tf32 = False  # else fp32 on CUDA is not what the result says it is
    predictor = Predictor(read, network, chosen, bf16)
    identity = predictor.identity
    _log.info(
        "model loaded",
        model=identity.name,
        version=identity.version,
        sha256=identity.sha256,
        device=str(chosen),
        precision=identity.precision,
    )
    return predictor


def _on_device(bundle: Bundle, device: torch.device) -> SmartNet:
    network = load_network(bundle)
    for part in (network.encoder, network.seg_decoder):
        part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.segmenter.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.to(device)


def _device(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(asked)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"model.device = {asked!r}: {torch.cuda.device_count()} CUDA devices are there; "
            'use "auto" or "cpu", or mend the driver'
        )
    return device


def _computes_in_bf16(device: torch.device) -> bool:
    """Tell whether bf16 is more than an emulation.

    Measured with the small network, 32 slices, one core with AVX512-BF16: fp32 3.2 s, fp32
    channels-last 2.3 s, bf16 channels-last 1.5 s.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name
    return bool(supported is not None and supported())


def judge(bundle: Bundle, class_logits: npt.NDArray[np.float64]) -> dict[str, ClassScore]:
    """Say which classes are present.

    A subtype is present if its calibrated probability reaches its threshold; `any` if its own does
    or a subtype is.
    """
    scores = {}
    for name, value in zip(CLASSES, class_logits, strict=True):
        slope, offset = bundle.calibration[name]
        probability = float(_sigmoid(slope * value + offset))
        threshold = bundle.thresholds[name]
        scores[name] = ClassScore(probability, threshold, probability >= threshold)
    present = scores["any"].present or any(scores[name].present for name in SUBTYPES)
    scores["any"] = ClassScore(scores["any"].probability, scores["any"].threshold, present)
    return scores


def _sigmoid(logit: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    return np.asarray(expit(logit), np.float64)
