"""``vlmeval_dataset.py`` of an exported folder with one more model, which says what stands in a file.

    python replay_vlmevalkit.py FOLDER REPLIES PROMPTS --data … --model replay …

The first prompt goes to the file PROMPTS.
"""

import json
import os
import runpy
import sys

from vlmeval.config import supported_VLM

folder, replies, prompts = sys.argv[1:4]


class Replay:
    """Answers each question with the reply of its place, after a look at its frames or video."""

    is_api = False

    def __init__(self, **more):
        self.VIDEO_LLM = bool(os.environ.get("AS_VIDEO"))
        with open(replies, encoding="utf-8") as file:
            self.replies = iter(json.load(file))
        self.first = True

    def generate(self, message, dataset=None):
        for part in message:
            assert part["type"] == "text" or os.path.getsize(part["value"]) > 0, part
        if self.first:
            with open(prompts, "w", encoding="utf-8") as file:
                json.dump(message, file)
        self.first = False
        return next(self.replies)


supported_VLM["replay"] = Replay
sys.argv = [f"{folder}/vlmeval_dataset.py", *sys.argv[4:]]
sys.path.insert(0, folder)
if os.path.exists(sys.argv[0]):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:  # the TSV alone
    runpy.run_module("vlmeval.run", run_name="__main__")
