"""What the rooms log is shown as plain lines by the command, and by nobody else."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from sefar_mllm.console import LOGGERS, shown


@pytest.mark.parametrize("name", LOGGERS)
def test_lines_go_to_standard_output_and_warnings_to_standard_error(name, capsys):
    with shown():
        logging.getLogger(name).info("%d clips", 3)
        logging.getLogger(f"{name}.room").warning("waiting")
    assert capsys.readouterr() == ("3 clips\n", "waiting\n")


def test_a_root_handler_does_not_say_it_again(capsys):
    root = logging.StreamHandler()
    logging.getLogger().addHandler(root)
    try:
        with shown():
            logging.getLogger("encoder").warning("once")
    finally:
        logging.getLogger().removeHandler(root)
    assert capsys.readouterr().err == "once\n"


@pytest.mark.parametrize("variable", ["RANK", "OMPI_COMM_WORLD_RANK"])
def test_other_processes_of_a_launch_only_warn(variable, monkeypatch, capsys):
    monkeypatch.setenv(variable, "1")
    with shown():
        logging.getLogger("gym_qa").info("3 clips")
        logging.getLogger("gym_qa").warning("waiting")
    assert capsys.readouterr() == ("", "waiting\n")


def test_outside_the_command_loggers_are_as_they_were(capsys):
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS}
    with shown():
        pass
    logging.getLogger("sefar_mllm").info("nobody hears")
    assert capsys.readouterr() == ("", "")
    for name in LOGGERS:
        logger = logging.getLogger(name)
        assert (logger.level, logger.propagate, logger.handlers) == (*before[name], [])


def test_a_reader_who_went_away_is_not_swallowed(monkeypatch):
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None: ...

    monkeypatch.setattr("sys.stdout", Gone())
    with shown(), pytest.raises(BrokenPipeError):
        logging.getLogger("encoder").info("line")


def test_libraries_are_imported_without_a_remark():
    """Those that remark on the machine when they are imported, as fine-tuning imports them."""
    code = (
        "from sefar_mllm.console import shown\n"
        "with shown():\n"
        "    import bitsandbytes, deepspeed.accelerator\n"
        "    deepspeed.accelerator.get_accelerator()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout + run.stderr == ""
