"""``sefar-mllm build-qa`` as a script."""

import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    sys.exit(main(["build-qa", *sys.argv[1:]]))
