"""`sefar-mllm finetune`, for `accelerate launch scripts/finetune_mllm.py --config …`."""

import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["finetune", *sys.argv[1:]]))
