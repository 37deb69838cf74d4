"""`sefar-mllm extract-features`."""

import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract-features", *sys.argv[1:]]))
