"""ultralytics' detectors with random weights, as the modules that the texts beside this file stand for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel

TASKS = {"seg": SegmentationModel, "pose": PoseModel, "obb": OBBModel}


def detector(name: str, *, max_det: int | None = 300, **arguments: Any) -> nn.Module:
    """The module of a configuration, `yolo11n-seg`, whose forward returns what it detects, in pixels, and the
    masks where there are some.

    Of two heads only the one that finds everything once is left, as in what is exported: it returns the
    `max_det` highest scores, or all cells.
    """
    with torch.device("cpu"):  # it finds its strides by computing something
        task = TASKS.get(name.partition("-")[2], DetectionModel)
        model: Any = task(f"{name}.yaml", verbose=False, **arguments)
    head = model.model[-1]
    head.export = True
    if hasattr(head, "one2one_cv2"):
        head.end2end = True
        head.fuse()
        head.max_det = max_det
        if max_det is None:
            head.postprocess = lambda found: found.permute(0, 2, 1)
    return model.eval()
