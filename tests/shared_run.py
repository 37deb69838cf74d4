"""Runs verbs one after another as one of several processes: takes a list of their arguments as JSON."""

import json
import sys

from sefar_mllm.cli import main

if __name__ == "__main__":
    for verb in json.loads(sys.argv[1]):
        if main(verb):
            sys.exit(2)
