"""The command line: every mode's help and flags, spellings, hints and exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxattn import cli
from jaxattn.commands import FLAGS, MODES
from jaxattn.config import Config, declared
from jaxattn.errors import InputError
from jaxattn.request import Mode, Request

ROOT = Path(__file__).parents[1]

BASE = f"--config={ROOT / 'configs' / 'base.py'}"

VALUES = {
    "data": "owner/name",
    "rank_by": "test_auroc",
    "steps": "3",
    "stage": "tapt",
    "format": "csv",
    "on_bad_row": "stop",
    "split": "test",
}
"""What a flag may be given, where not every text is allowed."""


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples name configurations as they are called from a checkout."""
    monkeypatch.chdir(ROOT)


def parsed(*argv: str) -> Request:
    request = cli.parse(argv)
    assert request is not None
    return request


def refused(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """The one sentence of a command line that ends with exit code 2."""
    assert cli.run(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("jaxattn: ")
    return said.err


def flag(name: str) -> str:
    """A flag as it may be given."""
    return f"--{name}" + (f"={VALUES.get(name, 'x')}" if FLAGS[name].value else "")


def least(mode: Mode) -> list[str]:
    """The flags without which nothing can be said of others."""
    return [f"--mode={mode.name}", *([BASE] if mode.config == "needed" else [])]


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_every_mode_has_a_help_with_examples_that_parse(
    mode: Mode,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    # --data looks at it as soon as it is parsed.
    (tmp_path / "reviews.csv").write_text("text,label\n" + "so it is,1\nit is not,0\n" * 9)
    assert cli.run([mode.name, "--help"]) == 0
    said = capsys.readouterr().out
    for example in mode.examples:
        assert f"jaxattn {mode.name} {example}\n" in said
        request = parsed(mode.name, *example.split())
        assert request == parsed(f"--mode={mode.name}", *example.split())
        assert request.mode is mode
    for name, text in mode.flags.items():
        assert f"  --{name}" in said
        assert " ".join(text.split()) in " ".join(said.split())
    assert ("--config=FILE" in said) == (
        mode.config in ("needed", "optional", "data", "options or data")
    )
    for own in mode.options:
        assert f"  --config.{own}" in said
        assert any(f"{option}.".startswith(f"{own}.") for option in declared(Config))
    assert max(map(len, said.splitlines())) <= 100
    assert (ROOT / "jaxattn" / "modes" / f"{mode.file}.py").is_file()


def test_the_help_is_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["--helpshort"], ["-h"], ["nothing", "--help"]):
        assert cli.run(argv) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 84
        names = [line.split()[0] for line in lines[1:-1]]
        assert names == list(MODES)
        assert all(len(line.split()) > 3 for line in lines[1:-1])


def test_without_arguments_the_help_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()[0].split()[0]) == ("", "usage:")


def test_every_mode_has_a_file_and_every_file_a_mode() -> None:
    files = {path.stem for path in (ROOT / "jaxattn" / "modes").glob("*.py")}
    assert {mode.file for mode in MODES.values()} == files - {"__init__", "begin"}
    assert all(any(name in mode.flags for mode in MODES.values()) for name in FLAGS)


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_a_flag_is_taken_or_refused(mode: Mode, capsys: pytest.CaptureFixture[str]) -> None:
    for name in FLAGS:
        argv = [*least(mode), flag(name)]
        if name == "dry_run" and "data" in mode.flags:
            assert "give --data" in refused(capsys, argv)
            continue
        if name in mode.flags:
            assert str(getattr(parsed(*argv), name)) in (VALUES.get(name, "x"), "True")
            capsys.readouterr()
            continue
        said = refused(capsys, argv)
        assert f"--mode={mode.name} does not take --{name} (modes that do: " in said
        assert all(f"--{taken}" in said for taken in mode.flags)


@pytest.mark.parametrize("mode", MODES.values(), ids=lambda mode: mode.name)
def test_a_configuration_is_taken_or_refused(
    mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    option = "--config.predict.overlap=3"
    if mode.config == "none":
        assert "does not take --config" in refused(capsys, [f"--mode={mode.name}", BASE])
        assert "does not take --config" in refused(capsys, [f"--mode={mode.name}", option])
    elif mode.config == "options":
        assert parsed(mode.name, option).flagged_options(["predict.overlap"])
        assert "those of the run" in refused(capsys, [mode.name, BASE, option])
    elif mode.config == "options or data":
        assert not parsed(mode.name, option).has_file
        assert parsed(mode.name, option, BASE).has_file
    elif mode.config == "data":
        request = parsed(mode.name, BASE, "--config.data.path=x")
        assert request.data_options()["data.path"] == "x"
        with pytest.raises(InputError, match=r"predict\.overlap.*those of the run"):
            parsed(mode.name, BASE, option).data_options()
    else:
        assert parsed(mode.name, option, BASE).resolved().predict.overlap == 3
        assert "give --config=<file> too" in refused(capsys, [mode.name, option])
        if mode.config == "needed":
            assert "needs --config=<file>, for example" in refused(capsys, [mode.name])
        else:
            assert parsed(mode.name).config is None


@pytest.mark.parametrize("name", ["exp", "pretrain", "stage"])
def test_a_run_is_named_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    taking = [mode for mode in MODES.values() if "run" in mode.flags and name in mode.flags]
    assert taking
    for mode in taking:
        said = refused(capsys, [f"--mode={mode.name}", "--run=runs/finetune/a", flag(name)])
        assert f"--run and --{name}: give one of them" in said


def test_plan_options_may_be_changed_beside_a_run() -> None:
    request = parsed("--mode=plan", "--run=runs/finetune/a", "--config.plan.seconds=7")
    assert request.flagged_options(request.mode.own_options()) == {"plan.seconds": 7}


def test_an_error_in_a_configuration_file_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text("def get_config():\n    options = {}\n    return 1 / 0\n")
    said = refused(capsys, ["pretrain", f"--config={tmp_path}/mine.py", "--exp=a"])
    assert f"--config={tmp_path}/mine.py:3: ZeroDivisionError: division by zero" in said


@pytest.mark.parametrize(
    ("argv", "same"),
    [
        (["pretrain", "--exp", "a"], ["--mode=pretrain", "--exp=a"]),
        (["--exp", "a", "pretrain"], ["--mode", "pretrain", "-exp=a"]),
        (["pretrain", "--config", BASE[9:]], ["pretrain", BASE]),
        (["--config", BASE[9:], "--mode", "pretrain"], ["pretrain", BASE]),
        (
            ["pretrain", BASE, "--config.train.seed", "4"],
            ["pretrain", "--config.train.seed=4", BASE],
        ),
        (["predict", "--input", "-"], ["predict", "--input=-"]),
        (["verify", "--steps", "7"], ["verify", "--steps=07"]),
        (["pretrain", "--noresume"], ["pretrain", "--resume=false"]),
        (["pretrain", "--resume"], ["pretrain", "--resume=True"]),
        (["pretrain", "--exp=a", "--exp=b"], ["pretrain", "--exp=b"]),
        (["pretrain", "--exp="], ["pretrain"]),
    ],
)
def test_spellings_of_the_same(argv: list[str], same: list[str]) -> None:
    one, other = parsed(*argv), parsed(*same)
    assert set(one.config_args) == set(other.config_args)
    assert one.resolved() == other.resolved() if one.config else other.config is None
    names = ("mode", *FLAGS)
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["pretrian"], ["--mode: found 'pretrian'", "did you mean 'pretrain'?"]),
        (["--exp=a"], ["--mode: found ''", "allowed: study, recipe"]),
        (["pretrain", "stray"], ["'stray'", "--name=value"]),
        (["pretrain", "--mode=tapt"], ["'tapt'"]),
        (["--mode=pretrain", "stray"], ["unexpected argument 'stray'"]),
        (["--mode=pretrain", "--resume", "false"], ["unexpected argument 'false'"]),
        (["pretrain", "--pretran=x"], ["--pretran", "did you mean 'pretrain'?"]),
        (["pretrain", "--data.path=x"], ["--data.path", "--config.data.path=x"]),
        (["pretrain", "--data.pth", "x"], ["--data.pth", "did you mean 'config.data.path'?"]),
        (["pretrain", "--epochs=3"], ["--epochs", "--config.train.epochs=3"]),
        (["pretrain", "--seconds=3"], ["config.plan.seconds=3 or --config.profile.seconds=3"]),
        (["pretrain", BASE, "--config.data.pth=x"], ["did you mean 'data.path'?"]),
        (["pretrain", "--exp"], ["--exp: needs a value"]),
        (["pretrain", "--exp", "--resume"], ["--exp: needs a value"]),
        (["pretrain", "--config.train.seed", "--resume"], ["--config.train.seed: needs a value"]),
        (["pretrain", "--config"], ["--config: needs a value"]),
        (["pretrain", "--resume=maybe"], ["--resume: found 'maybe'", "true, false"]),
        (["verify", "--steps=-1"], ["--steps: found '-1'", "at least 0"]),
        (["verify", "--steps=many"], ["--steps: found 'many'"]),
        (["eval", "--split=tset"], ["--split: found 'tset'", "did you mean 'test'?"]),
        (["plan", "--stage=tap"], ["--stage: found 'tap'", "did you mean 'tapt'?"]),
        (["predict", "--format=xml"], ["--format: found 'xml'", "jsonl, csv, parquet"]),
        (["predict", "--on_bad_row=zzz"], ["--on_bad_row: found 'zzz'", "keep, stop"]),
        (["study", "--config=nowhere.py"], ["nowhere.py", "no such file"]),
    ],
)
def test_mistakes_are_told_with_what_to_do(
    argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, argv)
    for word in words:
        assert word in said


def launched(*command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *command]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_program_is_the_same_however_it_is_started() -> None:
    version = launched("-m", "jaxattn", "--version")
    assert version.stdout.split()[0] == "jaxattn"
    assert version.returncode == 0
    helped = launched("launch.py", "--help")
    assert (helped.stdout, helped.returncode) == (cli.overview() + "\n", 0)
    bad = launched("launch.py", "--config=configs/lsh_small.py", "--mode=pretrain", "--split=test")
    assert bad.returncode == 2
    assert "does not take --split (modes that do: eval)" in bad.stderr


def test_jax_is_not_there_before_its_environment_is_settled() -> None:
    code = "import sys; from jaxattn import cli; cli.parse(['study', sys.argv[1]])"
    assert launched("-c", f"{code}; sys.exit('jax' in sys.modules)", BASE).returncode == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["data", BASE, "--config.data.name=my texts"], "data.name: found 'my texts', after which"),
        (["data", BASE, "--exp=my texts"], "--exp: found 'my texts', allowed: a letter"),
        (
            ["study", BASE, "--config.data.name=a/b"],
            "data.name: found 'a/b', after which",
        ),
        (["merge", "--exp=x", "--output=my run"], "--output: found 'my run', allowed: a letter"),
        (["eval", "--exp=my run"], "--exp: found 'my run', allowed: a letter"),
        (["finetune", BASE, "--exp=x", "--pretrain=a b"], "--pretrain: found 'a b', allowed"),
    ],
)
def test_the_option_named_is_one_that_was_given(
    capsys: pytest.CaptureFixture[str], argv: list[str], words: str, tmp_path: Path
) -> None:
    assert words in refused(capsys, [*argv, f"--runs={tmp_path}"])
