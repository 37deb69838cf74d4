"""`sefar-mllm evaluate`, for `accelerate launch scripts/evaluate_mcq.py --config …`."""

import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
