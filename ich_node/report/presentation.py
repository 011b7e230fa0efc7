"""The presentation state: the outlines on the source images (PS3.3 A.33.1, GSPS)."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
from pydicom import Dataset

from ich_node import codes, logs
from ich_node.geometry import part_mm
from ich_node.records import CtVolume, Prediction
from ich_node.report.drawing import WINDOW_HU
from ich_node.report.identity import Work
from ich_node.report.objects import common_arguments
from ich_node.report.outlines import Outlined, Polyline, of_classes
from ich_node.report.seg import tracking_id

_log = logs.get(__name__)

_PIXEL = hd.pr.AnnotationUnitsValues.PIXEL


def build_presentation(
    volume: CtVolume, prediction: Prediction, headers: Sequence[Dataset], work: Work
) -> Dataset | None:
    """Build a presentation state of a prediction that has a mask.

    A layer for each class, in the colour of its segment, with the outlines that the SR gives and
    the name beside the largest one of a slice; the brain window.

    Parameters
    ----------
    volume, prediction
        What was analysed and found.
    headers
        Normalised, one for each slice of the volume.
    work
        Gives UIDs and equipment.

    Returns
    -------
    Dataset or None
        None where the rescale to HU changes between slices: one state cannot say that.
    """
    rescale = {(h.get("RescaleSlope"), h.get("RescaleIntercept")) for h in headers}
    if len(rescale) > 1:
        _log.warning("no presentation state: the rescale to HU changes between slices")
        return None
    low, high = WINDOW_HU
    covered = part_mm(volume.source.extents_mm)
    where = "" if covered is None else f" in the {covered:g} mm read"  # 64 characters at most
    found = of_classes(volume.source, prediction.labels)
    layers = {name: _layer(number, name) for number, name in enumerate(found, start=1)}
    state = hd.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=headers,
        content_label="ICH_OUTLINES",
        content_description=f"Intracranial haemorrhage{where}, research use only",
        graphic_layers=list(layers.values()),
        graphic_annotations=[
            annotation
            for name, outlined in found.items()
            for annotation in _annotations(name, layers[name], outlined, headers, work)
        ],
        voi_lut_transformations=[
            hd.pr.SoftcopyVOILUTTransformation(
                window_center=(low + high) / 2, window_width=high - low
            )
        ],
        **common_arguments(work, "pr"),
    )
    state.BodyPartExamined = "HEAD"
    return state


def _layer(order: int, name: str) -> hd.pr.GraphicLayer:
    entry = codes.OF_CLASS[name]
    return hd.pr.GraphicLayer(
        layer_name=name.upper(),
        order=order,
        description=entry.name,
        display_color=hd.color.CIELabColor.from_dicom_value(entry.cielab),
    )


def _annotations(
    name: str,
    layer: hd.pr.GraphicLayer,
    outlined: Outlined,
    headers: Sequence[Dataset],
    work: Work,
) -> list[hd.pr.GraphicAnnotation]:
    of_slice: dict[int, list[Polyline]] = {}
    for index, outline in outlined.polylines:
        of_slice.setdefault(index, []).append(outline)
    return [
        hd.pr.GraphicAnnotation(
            referenced_images=[headers[index]],
            graphic_layer=layer,
            graphic_objects=[
                hd.pr.GraphicObject(
                    hd.pr.GraphicTypeValues.POLYLINE,
                    outline,
                    _PIXEL,
                    tracking_id=tracking_id(name),
                    tracking_uid=work.uids[f"tracking-{name}"],
                )
                for outline in outlines
            ],
            text_objects=[
                hd.pr.TextObject(name.capitalize(), _PIXEL, anchor_point=_top(outlines[0]))
            ],
        )
        for index, outlines in of_slice.items()
    ]


def _top(outline: Polyline) -> tuple[float, float]:
    column, row = outline[outline[:, 1].argmin()]
    return float(column), float(row)
