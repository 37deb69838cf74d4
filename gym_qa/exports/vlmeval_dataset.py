"""VLMEvalKit's data set of Gym-QA questions; copied beside the TSV that ``export-qa`` writes for it.

    python vlmeval_dataset.py --data NAME_8frame --model MODEL

does what VLMEvalKit's ``run.py`` does, with every TSV in this folder as a further data set: ``NAME_8frame``
shows the video file to models that read videos and 8 frames to the others, ``NAME_2fps`` two frames a second,
``NAME`` 8 frames. ``GYM_QA_VIDEOS`` names the folder of the clips; without it they are looked for in
``videos`` beside this file.
"""

import csv
import hashlib
import importlib.util
import json
import os
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import vlmeval.dataset
from prompt import LETTERS, prompt
from reply import read_answer
from spreadsheet import read_xlsx
from vlmeval.dataset.video_base import VideoBaseDataset

HERE = Path(__file__).resolve().parent
SAMPLING = re.compile(r"(?:_(\d+)frame|_(\d+(?:\.\d+)?)fps)$")
FORMULA = re.compile(r"^ (?=[=+\-@\t\r])")
OFFERED = ["", *(f"_{n}frame" for n in (1, 4, 8, 16, 32, 64)), *(f"_{rate}fps" for rate in (1, 2, 4, 8))]


class GymQA(VideoBaseDataset):
    """Multiple-choice questions about clips; replies are read strictly and no judge is asked.

    Args:
        dataset: name of a TSV in this folder, with ``_8frame`` or ``_2fps`` behind it or not.
        nframe: frames a clip, evenly spread; by default those that the name says, or 8.
        fps: frames a second instead.
    """

    TYPE = "Video-MCQ"
    DEFAULT_JUDGE = "exact_matching"

    def __init__(self, dataset: str, nframe: int = 0, fps: float = -1) -> None:
        if nframe <= 0 and fps <= 0:
            named = SAMPLING.search(dataset)
            nframe, fps = (8, -1) if named is None else (int(named[1] or 0), float(named[2] or -1))
        super().__init__(dataset=dataset, nframe=nframe, fps=fps)
        rows = read_tsv(self.data_file)  # again: the base class lets pandas take "None" and "NA" for missing
        self.options = [json.loads(row["options"]) for row in rows]
        for column in rows[0]:
            self.data[column] = [row[column] for row in rows]
        self.data["index"] = range(len(rows))

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """Every TSV here, in the samplings that are offered."""
        return [tsv.stem + sampling for tsv in sorted(HERE.glob("*.tsv")) for sampling in OFFERED]

    def prepare_dataset(self, dataset: str) -> dict[str, str]:
        """The folder of the clips and the TSV."""
        folder = os.environ.get("GYM_QA_VIDEOS") or str(HERE / "videos")
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder}: no such folder; set GYM_QA_VIDEOS to the folder of the clips")
        return {"root": folder, "data_file": str(HERE / (SAMPLING.sub("", dataset) + ".tsv"))}

    def build_prompt(self, line: Any, video_llm: bool = False) -> list[dict[str, str]]:
        """The video, as a file or in frames, and the question."""
        row = line if hasattr(line, "keys") else self.data.iloc[line]
        if video_llm:
            shown = [{"type": "video", "value": os.path.join(self.data_root, row["video"])}]
        else:
            shown = [{"type": "image", "value": path} for path in self.save_video_frames(row["video"])]
        return [*shown, {"type": "text", "value": prompt(row["question"], json.loads(row["options"]))}]

    def save_video_frames(self, video: str) -> list[str]:
        """Paths of the frames of a clip, decoded from its start: in some files seeking finds wrong ones."""
        path = os.path.join(self.data_root, video)
        rates = [capture.get(cv2.CAP_PROP_FPS) for capture in decoded(path)]
        if not rates:
            raise RuntimeError(f"{path}: no frame of it can be decoded")
        if self.fps > 0:
            step = rates[0] / self.fps
            places = [int(number * step) for number in range(max(1, int(len(rates) / step)))]
        else:
            places = [len(rates) * number // (self.nframe + 1) for number in range(1, self.nframe + 1)]
        state = os.stat(path)
        key = hashlib.sha256(
            f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}".encode()
        ).hexdigest()
        folder = Path(self.frame_root) / key[:16]
        images = {place: folder / f"{place}.jpg" for place in places}
        if not all(image.exists() for image in images.values()):
            folder.mkdir(parents=True, exist_ok=True)
            for place, capture in enumerate(decoded(path)):
                if place in images:
                    part = folder / f"{place}-{os.getpid()}.jpg"  # several processes may write the same
                    cv2.imwrite(str(part), capture.retrieve()[1], [cv2.IMWRITE_JPEG_QUALITY, 95])
                    part.replace(images[place])
        return [str(images[place]) for place in places]

    def evaluate(self, eval_file: str, **judge: Any) -> dict[str, float]:
        """Accuracy and share of unreadable replies; choices go to ``…_choices.jsonl`` beside the file."""
        replies, lines, right, unread = read_replies(Path(eval_file)), [], 0, 0
        for row, options in zip(self.data.to_dict("records"), self.options, strict=True):
            choice = read_answer(replies[row["index"]], options)
            right += choice is not None and LETTERS[choice] == row["answer"]
            unread += choice is None
            lines.append(json.dumps({"id": row["id"], "choice": choice}) + "\n")
        Path(eval_file).with_name(Path(eval_file).stem + "_choices.jsonl").write_text("".join(lines), "utf-8")
        return {"accuracy": right / len(lines), "unparsed_rate": unread / len(lines), "n": len(lines)}


def read_tsv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a TSV as texts; a space that keeps a spreadsheet from running a cell is taken off again."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [{column: FORMULA.sub("", cell) for column, cell in row.items()} for row in rows]


def read_replies(path: Path) -> dict[int, str]:
    """Index → reply, from what VLMEvalKit writes: .xlsx, or with ``PRED_FORMAT`` .tsv or .json."""
    kinds = {".xlsx": read_xlsx, ".tsv": read_tsv, ".json": lambda file: json.loads(file.read_text("utf-8"))}
    return {int(row["index"]): str(row["prediction"]) for row in kinds[path.suffix](path)}


def decoded(path: str) -> Iterator[Any]:
    """A capture that stands at each frame in turn."""
    capture = cv2.VideoCapture(path)
    try:
        while capture.grab():
            yield capture
    finally:
        capture.release()


vlmeval.dataset.DATASET_CLASSES.append(GymQA)
vlmeval.dataset.SUPPORTED_DATASETS.extend(GymQA.supported_datasets())
vlmeval.dataset.GymQA = GymQA  # for VLMEvalKit's --config

if __name__ == "__main__":
    if importlib.util.find_spec("vlmeval.run"):
        runpy.run_module("vlmeval.run", run_name="__main__")
    else:
        runpy.run_path(
            "run.py", run_name="__main__"
        )  # of a checkout of VLMEvalKit, in whose folder this was started
