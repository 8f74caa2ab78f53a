"""What `ptycho-train` refuses before anything is made (EC-021, EC-037)."""

import pytest

from ptycho_dist.cli import train as command
from ptycho_dist.config import logger_package


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--learning-rate", "-1"], "execution.learning_rate: input should be greater than 0"),
        (["--set", "data.blok=3"], "data.blok: unknown override; did you mean data.block_size?"),
        (["--set", "resources.time=5"], "--set resources.time: has no effect here"),
        (["--set", "seed=3"], "--set seed=3: expected section.field=value"),
        (["--num-nodes", "2"], "--num-nodes 2: this process is alone"),
        (["--logger", "mlflow"], "mlflow needs the package mlflow"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(
    scan_file, tmp_path, capsys, monkeypatch, words, said
):
    """EC-037, EC-021"""
    monkeypatch.setattr(command.StopRequest, "install", lambda *_: None)
    monkeypatch.setattr(logger_package.importlib.util, "find_spec", lambda name: None)
    out = tmp_path / "out"
    code = command.main(["--train_data_file", str(scan_file), "--output_dir", str(out), *words])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not out.exists()
