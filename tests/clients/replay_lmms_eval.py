"""lmms-eval's own command with one more model, which says what stands in ``--model_args replies=FILE``."""

import json
import os
import sys

from lmms_eval.api.model import lmms
from lmms_eval.models import MODEL_REGISTRY_V2
from lmms_eval.models.registry_v2 import ModelManifest


class Replay(lmms):
    """Answers each question with the reply of its place, after a look at its video."""

    def __init__(self, replies, **more):
        super().__init__()
        with open(replies, encoding="utf-8") as file:
            self.replies = json.load(file)

    def generate_until(self, requests):
        said = []
        for request in requests:
            _, _, visual, place, task, split = request.args
            (path,) = visual(self.task_dict[task][split][place])
            assert os.path.getsize(path) > 0, path
            said.append(self.replies[place])
        return said

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


if __name__ == "__main__":
    sys.modules["replay"] = sys.modules[__name__]
    MODEL_REGISTRY_V2.register_manifest(ModelManifest("replay", simple_class_path="replay.Replay"))
    from lmms_eval.__main__ import cli_evaluate

    cli_evaluate()
