"""The command line: flags, one mode, one sentence for an error the user can mend.

Usage: jaxattn --mode=MODE [--config=FILE [--config.SECTION.OPTION=VALUE ...]] [flags]

Modes, each with an example (`python launch.py` is the same program as `jaxattn`):

  study     the main job: pretrain and fine-tune with every attention, baseline, comparison
              jaxattn --mode=study --config=configs/pydocs_quick.py
  recipe    pretrain -> tapt -> finetune under one name, each stage once
              jaxattn --mode=recipe --config=configs/pydocs_quick.py --exp=quick
  sweep     a grid of runs side by side, started again where it stopped; --dry_run lists them
              jaxattn --mode=sweep --config=configs/sweeps/quick.py --config.sweep.parallel=2
  new       write the options of a pretraining, commented, to edit; then --mode=pretrain --exp=mine
              jaxattn --mode=new --exp=mine --config=configs/lsh_small.py
  pretrain  train a vocabulary and an encoder on text alone (masked language model)
              jaxattn --mode=pretrain --config=configs/lsh_small.py --exp=wiki_lsh
  tapt      go on with the MLM on a task's training texts, from a pretrained encoder
              jaxattn --mode=tapt --config=configs/imdb.py --exp=imdb_lsh --pretrain=wiki_lsh
  finetune  train a classifier from a pretrained encoder (--pretrain=none: from random weights;
            --pretrain=tapt/imdb_lsh: from a TAPT run; --pretrain=wiki_lsh@900: from that step)
              jaxattn --mode=finetune --config=configs/imdb.py --exp=imdb_lsh --pretrain=wiki_lsh
  import    a Hugging Face BERT folder as a run to start from: --pretrain=bert
              jaxattn --mode=import --input=bert-base-uncased --exp=bert
  export_bert  encoder and MLM head of a run (or with --exp its classifier) for transformers
              jaxattn --mode=export_bert --pretrain=tapt/imdb --output=my-bert
  baseline  TF-IDF + logistic regression on the same data
              jaxattn --mode=baseline --config=configs/imdb.py --exp=imdb_tfidf
  eval      metrics, calibration, speed and predictions of a finished classifier, on its own data,
            on one split of them (--split=train) or on a file with labels
              jaxattn --mode=eval --exp=imdb_lsh
              jaxattn --mode=eval --exp=imdb_lsh --input=new_reviews.csv
  predict   labels and probabilities for texts from a file or standard input; --run=<folder> for an
            exported classifier
              jaxattn --mode=predict --exp=imdb_lsh --input=reviews.csv --output=labels.csv
  merge     fold what LoRA (or the head alone) has learned into a run of ordinary parameters
              jaxattn --mode=merge --exp=imdb_lora
  minbert   a classifier's predictions on dev and test as the minBERT course wants them
              jaxattn --mode=minbert --exp=sst --output=predictions
  export    a folder that predicts without the run: weights, tokenizer, StableHLO, model card
              jaxattn --mode=export --exp=imdb_lsh --output=imdb_model
  compare   which attention to use: a page, tables and a plot of every run
              jaxattn --mode=compare --runs=runs
  replay    run a run again from its saved configuration, and compare
              jaxattn --mode=replay --run=runs/finetune/imdb_lsh
  data      what a run would read: splits, classes, lengths, duplicates, batches in words
              jaxattn --mode=data --config=configs/imdb.py --config.data.path=my_folder
  verify    repeat steps of a finished run from a checkpoint to the next: are they bitwise the same?
              jaxattn --mode=verify --run=runs/finetune/imdb_lsh --steps=200
  plan      what a run will need: memory, devices it fits on, time; checked against the run later
              jaxattn --mode=plan --config=configs/lsh_small.py
  profile   time and memory of the attentions by length, where they cross, their error on a run
              jaxattn --mode=profile --config=configs/profile_quick.py

Any option of jaxattn/config/ can be overridden: --config.train.learning_rate=3e-4
"""

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxattn.config.flags import config_dict
from jaxattn.errors import InputError, did_you_mean
from jaxattn.request import Request, settle
from jaxattn.runs.kinds import STAGES
from jaxattn.startup import collector_paused, use_huge_pages

MODES = {
    "study": "study",
    "recipe": "recipe",
    "sweep": "sweep",
    "new": "new",
    "pretrain": "pretrain",
    "tapt": "tapt",
    "finetune": "finetune",
    "import": "import_bert",
    "export_bert": "export_bert",
    "baseline": "baseline",
    "eval": "evaluate",
    "predict": "predict",
    "merge": "merge",
    "minbert": "minbert",
    "export": "export",
    "compare": "compare",
    "replay": "replay",
    "data": "data",
    "verify": "verify",
    "plan": "plan",
    "profile": "profile",
}
"""Name of the mode -> module in jaxattn.modes."""

FLAG_TEXTS = {
    "mode": f"What to do: {', '.join(MODES)}.",
    "exp": "Name of the experiment.",
    "pretrain": "tapt, finetune, recipe, sweep, data, plan, profile, export_bert: the run to start "
    "from, name[@step] of a pretraining, tapt/name[@step] of a TAPT, or none.",
    "stage": f"data, plan: which training of --config: {', '.join(STAGES)}; default: pretrain, "
    "with --pretrain finetune.",
    "run": "replay, verify, plan: the run's folder; replay: a report's folder for all its runs; "
    "predict, export: a run's folder instead of --exp; predict: an exported one too.",
    "input": "predict: a file, or - for standard input; eval: a file with labels; import: a "
    "Hugging Face folder.",
    "output": "predict: a file, empty: standard output; export, export_bert: a new folder; "
    "minbert: a folder, empty: the run's; merge: name of the new run, empty: <exp>_merged.",
    "format": "predict: jsonl, csv or parquet; empty: as --output ends.",
    "on_bad_row": "predict: keep (default: in the output without a label) or stop.",
    "split": "eval: only this split of the data: train, validation or test.",
}


def _flags() -> flags.FlagValues:
    """The flags of one call; made anew each time, so that no value outlives its call."""
    values = flags.FlagValues()
    for name, text in FLAG_TEXTS.items():
        flags.DEFINE_string(name, "", text, flag_values=values)
    flags.DEFINE_string("runs", "runs", "Folder of all runs.", flag_values=values)
    flags.DEFINE_bool("resume", False, "Continue an existing experiment.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "sweep: only list the cells.", flag_values=values)
    flags.DEFINE_bool("trace", False, "profile: record a trace too.", flag_values=values)
    flags.DEFINE_bool(
        "compilation_cache", True, "Keep compiled programs for later runs.", flag_values=values
    )
    flags.DEFINE_integer(
        "steps", 0, "verify: steps to repeat at most; 0: as few as can be.", 0, flag_values=values
    )
    for name in ("helpshort", "help"):
        flags.DEFINE_bool(name, False, "Show this help.", flag_values=values)
    return values


def main() -> None:
    """The `jaxattn` command."""
    use_huge_pages()
    code = run(sys.argv[1:])
    # When Python ends it looks through all objects for garbage; frozen ones are left out. That is
    # half a second of every command.
    gc.freeze()
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs one command line; the exit code is 2 after an error the user can mend."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # reads two of six arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        request = parse(argv)
        if request is not None:
            settle(request)
            with collector_paused():
                mode = importlib.import_module(f"jaxattn.modes.{MODES[request.mode]}")
            return mode.run(request) or 0
    except InputError as error:
        return _fail(str(error), 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say or flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 2)
    except RuntimeError as error:
        if type(error).__name__ == "InterruptedRun":
            code = 130 if "SIGINT" in str(error) else 143
            return _fail(f"{error}; continue with --resume", code)
        if type(error).__name__ == "NonFiniteError":
            return _fail(f"the run failed: {error}", 1)
        raise
    return 0


def _fail(sentence: str, code: int) -> int:
    print(f"jaxattn: {sentence}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {message}", file=sys.stderr)


def parse(argv: Sequence[str]) -> Request | None:
    """The request of a command line; None after showing the help.

    Raises:
      InputError: unknown mode, flag or option, missing or broken configuration file, bad value.
    """
    config_args = [arg for arg in argv if arg.split("=")[0].split(".")[0] == "--config"]
    rest = [arg for arg in argv if arg not in config_args]
    values = _flags()
    try:
        positional = values(["jaxattn", *rest])[1:]
    except flags.UnrecognizedFlagError as error:
        hint = did_you_mean(error.flagname, ["config", *values])
        raise InputError(f"unknown flag --{error.flagname}{hint}") from None
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None
    if values.help or values.helpshort:
        print((__doc__ or "").partition("\n\n")[2])
        print("Flags:\n" + values.get_help("  ").partition(":\n")[2])
        return None
    if positional:
        raise InputError(f"unexpected argument {positional[0]!r}; flags have the form --name=value")
    if values.mode not in MODES:
        raise InputError(
            f"--mode: found {values.mode!r}, allowed: {', '.join(MODES)}"
            f"{did_you_mean(values.mode, list(MODES))}"
        )
    return Request(
        mode=values.mode,
        config=config_dict(config_args, _stage(values)) if config_args else None,
        config_args=tuple(config_args),
        resume=values.resume,
        dry_run=values.dry_run,
        trace=values.trace,
        compilation_cache=values.compilation_cache,
        steps=values.steps,
        runs=Path(values.runs),
        **{name: getattr(values, name) for name in FLAG_TEXTS if name != "mode"},
    )


def _stage(values: flags.FlagValues) -> str:
    """The mode whose settings a configuration file is asked for: here that of a training."""
    if values.stage not in ("", *STAGES):
        hint = did_you_mean(values.stage, STAGES)
        raise InputError(f"--stage: found {values.stage!r}, allowed: {', '.join(STAGES)}{hint}")
    if values.mode in ("data", "plan"):
        return values.stage or ("finetune" if values.pretrain else "pretrain")
    return "pretrain" if values.mode in ("profile", "new") else values.mode
