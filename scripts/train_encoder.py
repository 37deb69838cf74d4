"""`sefar-mllm train-encoder`, for `accelerate launch scripts/train_encoder.py --config …`."""

import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["train-encoder", *sys.argv[1:]]))
