"""`RapidOcrRecogniser`: PP-OCRv6 on ONNX Runtime, by rapidocr (the extra `ocr`) and the models in it."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_worker.parse.ocr.recogniser import RecognitionFailed, TextBox

_MODULES = ("rapidocr", "cv2", "onnxruntime")
_REFUSED_MEMORY = re.compile(r"bad_alloc|alloc\w* memory|insufficient memory|OutOfMemory", re.IGNORECASE)
"""What ONNX Runtime and OpenCV say where memory is refused to them."""
_PARAMETERS = {
    "Global.log_level": "critical",
    "Global.use_cls": False,  # the page's own rotation has been applied; lines upside down are rare
    "Global.max_side_len": 4000,
    # lines are found in a smaller picture and read in the full one, which takes two thirds of the memory
    "Det.limit_type": "max",
    "Det.limit_side_len": 1280,
    "Rec.rec_batch_num": 1,  # as fast on one core, and long lines do not make short ones as wide
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


def is_installed() -> bool:
    """Whether the extra `ocr` is there; nothing of it is imported."""
    return all(importlib.util.find_spec(name) is not None for name in _MODULES)


class RapidOcrRecogniser:
    """A `Recogniser` of one thread for Latin scripts, Chinese and Japanese.

    Its models are read with the first picture. A page of A4 in small type takes seconds, and the process some
    600 MB. Raises `ImportError` where the extra is missing.
    """

    def __init__(self) -> None:
        import cv2
        from rapidocr.inference_engine.onnxruntime.main import ONNXRuntimeError
        from rapidocr.main import RapidOCR, RapidOCRError

        cv2.setNumThreads(1)
        self._engine = RapidOCR(params=_PARAMETERS)
        self._failures = (cv2.error, ONNXRuntimeError, RapidOCRError)

    def read(self, picture: NDArray[np.uint8]) -> list[TextBox]:
        """See `Recogniser.read`. Raises `MemoryError` as well."""
        try:
            found: Any = self._engine(np.repeat(picture[:, :, None], 3, axis=2))
        except self._failures as error:
            if _REFUSED_MEMORY.search(str(error)):
                raise MemoryError from error
            raise RecognitionFailed from error
        if found.boxes is None or found.txts is None:
            return []
        return [_text_box(corners, text) for corners, text in zip(found.boxes, found.txts, strict=True)]


def _text_box(corners: NDArray[np.float32], text: str) -> TextBox:
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return TextBox(text, float(left), float(top), float(right), float(bottom))
