"""Bad requests of `python -m hw.build`: one sentence each, and no work done."""

import re

import pytest

from hw.build.cli import main


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--board", "artie"], "board must be one of arty_a7, nexys4ddr, .*, not 'artie'"),
    (["--board", "ulx3s", "--variant", "100"], "variant of ulx3s must be one of 85, 12, 25, 45, not '100'"),
    (["--board", "ulx3s", "--preset", "huge"], "preset must be one of .*, not 'huge'"),
    (["--board", "ulx3s", "--baud", "10000000"], r"--baud must be in 300..3125000 .*, not 10000000"),
    (["--board", "ulx3s", "--seed", "-1"], "--seed must be in .*, not -1"),
    (["--board", "ulx3s", "--config", "/nonexistent.json"], "cannot read the configuration file .*: No such file"),
    (["--board", "ulx3s", "--variant", "12", "--preset", "large"],
     r"configuration large has memories of [\d,]+ kbit, but LFE5U-12F-6BG381C has [\d,]+ kbit in block RAM and LUTs"),
    (["--board", "ulx3s", "--clock", "51"], "Config.clock_hz must be a clock that .* makes, .*, not 51,000,000"),
    (["--board", "ulx3s", "--clock", "0"], "--clock must be in 1..1000 MHz, not 0"),
    (["--board", "ulx3s", "--clock", "nan"], "--clock must be in 1..1000 MHz, not nan"),
    ([], "--board must be given, one of arty_a7, nexys4ddr, ulx3s, ecpix5, tang_primer_20k"),
])
def test_bad_request_is_one_sentence(tmp_path, capsys, arguments, sentence):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match(f"hw.build: {sentence}", err), err
    assert not list(tmp_path.glob("out/*.bit"))


@pytest.mark.parametrize(("text", "sentence"), [
    ('{"rows": 4}', "configuration key must be one of .*, not 'rows'"),
    ("{", "configuration must be a JSON object"),
    ('{"word": 20}', "Config.word must be a multiple of 8, not 20"),
    ('{"clock_hz": 51000000}',
     "Config.clock_hz must be a clock that Radiona ULX3S-85F makes, next are 50,000,000 and 55,000,000, not 51"),
])
def test_bad_configuration_file_is_one_sentence(tmp_path, capsys, text, sentence):
    path = tmp_path / "mine.json"
    path.write_text(text)
    assert main(["--board", "ulx3s", "--config", str(path), "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(sentence, err), err


@pytest.mark.parametrize("arguments", [["--bord", "x"], ["--seed", "one"], ["--preset", "a", "--config", "b"]])
def test_misuse_is_one_sentence(capsys, arguments):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    assert exit_status.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_unwritable_output(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--board", "ulx3s", "--out", str(tmp_path / "file" / "below")]) == 1
    assert capsys.readouterr().err == f"hw.build: cannot write to {tmp_path}/file/below: Not a directory\n"
