"""The verb ``doctor``: what would go wrong later, found out beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from encoder.checkpoint import write_json
from encoder.elements import TemporalElements
from encoder.scan import scan_clips
from sefar_mllm.errors import SefarMLLMError


@dataclass(frozen=True)
class DoctorConfig:
    """Look through clip lists before training.

    Every frame of every video is decoded. Clips that are missing, unreadable or too short, and videos that
    are odd, are reported with the line of their list; the exit status tells whether a clip cannot be used.

    Attributes:
        clips: Clip lists to look through.
        video_root: Folder that the videos' paths start from; by default each clip list's own.
        elements: Frames of each temporal element; a clip needs as many frames as the last one.
        reader: decord or pyav, as training is to read the videos.
        workers: Worker processes that decode.
        output: JSON file to write the report to.
    """

    clips: list[Path] = field(default_factory=list)
    video_root: Path | None = None
    elements: str = "2-2-4"
    reader: Literal["decord", "pyav"] = "decord"
    workers: int = 2
    output: Path | None = None


def doctor(config: DoctorConfig) -> dict[str, Any]:
    """Run the verb: examine, print, write the report.

    Returns:
        The report as it is written: ``{"clips": …}`` as in :class:`encoder.scan.ScanReport`.

    Raises:
        SefarMLLMError: Something is found that would stop training; the report is written all the same.
        EncoderError: A clip list is not there or does not parse.
    """
    if not config.clips:
        raise SefarMLLMError("doctor: nothing to look at; give --clips, one or more clip lists")
    report: dict[str, Any] = {}
    complaints: list[str] = []
    if config.clips:
        elements = TemporalElements.parse(config.elements)
        scan = scan_clips(config.clips, elements, config.video_root, config.reader, config.workers)
        print(scan)
        report["clips"] = scan.as_json()
        if scan.unusable:
            complaints.append(
                f"{scan.unusable} of {scan.clips} clips cannot be used; "
                "mend them or take them out of the lists"
            )
    if config.output is not None:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.output, report)
    if complaints:
        raise SefarMLLMError("; ".join(complaints))
    return report
