"""The table of the modes of the `jaxattn` command: what each is and takes.

The help, the flags and the checks of the command line follow from this table. It imports no JAX:
what a mode needs of the environment is settled before its file is imported.
"""

import dataclasses

from jaxattn.report.record import RANKED_BY
from jaxattn.request import Mode
from jaxattn.runs.kinds import STAGES


@dataclasses.dataclass(frozen=True)
class Flag:
    """What a flag is to every mode that takes it; its default is the one that `Request` has.

    Attributes:
      value: what stands for its value in the help; "" for a switch.
      text: what it says.
      choices: all values that it may have; empty: any.
    """

    value: str
    text: str
    choices: tuple[str, ...] = ()


FLAGS = {
    "exp": Flag("NAME", "name of the run"),
    "pretrain": Flag(
        "RUN", "the run to start from: NAME of a pretraining, tapt/NAME of a TAPT, with @STEP one "
        "of its checkpoints instead of the best, or none for random weights",
    ),
    "stage": Flag(
        "STAGE", "which training of --config; default: pretrain, with --pretrain finetune", STAGES
    ),
    "run": Flag("FOLDER", "the folder of a run"),
    "data": Flag(
        "TEXTS", "a file, folder or hub id of your own texts: columns, lengths and settings are "
        "found out and said; no --config or --exp is needed",
    ),
    "input": Flag("FILE", "what is read"),
    "revision": Flag("REVISION", "branch, tag or commit of a hub id; default: the newest commit"),
    "output": Flag("FOLDER", "the folder to write"),
    "format": Flag("FORMAT", "default: as --output ends", ("jsonl", "csv", "parquet")),
    "on_bad_row": Flag(
        "HOW", "keep a bad row without a label (default), or stop", ("keep", "stop")
    ),
    "raw": Flag("", "CSV: no apostrophe before cells that a spreadsheet would compute"),
    "split": Flag("SPLIT", "only this split of the data", ("train", "validation", "test")),
    "rank_by": Flag(
        "COLUMN", "the column of results.csv that ranks the runs; default: test_macro_f1",
        tuple(RANKED_BY),
    ),
    "steps": Flag("N", "steps to repeat at most; default: as few as can be"),
    "resume": Flag("", "go on with what was begun under this name"),
    "dry_run": Flag("", "with --data: only say what was found out"),
    "trace": Flag("", "record a trace for a profiler too"),
    "runs": Flag("FOLDER", "the folder of all runs; default: runs"),
    "compilation_cache": Flag(
        "", "compiled programs are kept for later runs; --nocompilation_cache: they are not"
    ),
}  # fmt: skip
"""Flags beside --config and --help; every mode takes the last one."""


def _flags(names: str, **texts: str) -> dict[str, str]:
    """Flags and what they say; `texts` are those that mean something particular to a mode."""
    return {
        name: texts.get(name, flag.text)
        for name, flag in FLAGS.items()
        if name in [*names.split(), *texts, "compilation_cache"]
    }


_CLASSIFIER = "name of the fine-tuned run"

_START = f"{FLAGS['pretrain'].text}; or a published encoder, by its folder or hub id"

_TRAIN = "--config=configs/imdb.py --exp=imdb_lsh --pretrain=wiki_lsh"

MODES = {mode.name: mode for mode in (
    Mode(
        "study", "the main job: train with every attention, and compare",
        ("--data=reviews.csv", "--config=configs/pydocs_quick.py",
         "--data=reviews.csv --pretrain=google-bert/bert-base-uncased"),
        _flags("data dry_run revision resume runs", pretrain=_START,
               exp="what the names of its runs begin with; default: the corpus"),
        config="needed", options=("study",),
    ),
    Mode(
        "recipe", "pretrain, TAPT and fine-tune under one name, each stage once",
        ("--config=configs/pydocs_quick.py --exp=quick",),
        _flags("data dry_run exp revision resume runs", pretrain=_START), config="needed",
        options=("recipe",),
    ),
    Mode(
        "sweep", "a grid of runs side by side, started again where it stopped",
        ("--config=configs/sweeps/quick.py --dry_run",
         "--config=configs/sweeps/quick.py --config.sweep.parallel=2"),
        _flags("revision runs", pretrain=_START,
               exp="name of the sweep; default: that of its file",
               dry_run="only list the runs, with the memory and time they need",
               resume="run failed ones once more"),
        config="needed", options=("sweep", "plan"),
    ),
    Mode(
        "new", "write the options of a pretraining to a file, to edit first",
        ("--exp=mine --config=configs/lsh_small.py",),
        _flags("exp runs"), settings="pretrain",
    ),
    Mode(
        "pretrain", "train a vocabulary and an encoder on text alone (MLM)",
        ("--config=configs/lsh_small.py --exp=wiki_lsh",),
        _flags("data dry_run exp resume runs"), run="pretrain",
    ),
    Mode(
        "tapt", "go on with the MLM on a task's training texts (TAPT)",
        (_TRAIN,), _flags("data dry_run exp revision resume runs", pretrain=_START), run="tapt",
        options=("tapt",),
    ),
    Mode(
        "finetune", "train a classifier, from a pretrained encoder or from nothing",
        (_TRAIN, _TRAIN.replace("wiki_lsh", "tapt/imdb_lsh"), _TRAIN.replace("wiki_lsh", "none")),
        _flags("data dry_run exp revision resume runs", pretrain=_START), run="finetune",
        options=("finetune", "peft", "head"),
    ),
    Mode(
        "import", "a published encoder, by folder or hub id, as a run to start from",
        ("--input=google-bert/bert-base-uncased --exp=bert", "--input=my-bert-folder --exp=bert"),
        _flags("exp revision runs",
               input="a Hugging Face folder, or the id of a model of the Hugging Face hub"),
        module="import_bert",
        config="data", options=("data",),
    ),
    Mode(
        "export_bert", "a run as a folder that Hugging Face transformers loads",
        ("--pretrain=tapt/imdb --output=my-bert", "--exp=imdb_lsh --output=my-classifier"),
        _flags("pretrain runs", exp=f"{_CLASSIFIER}, instead of --pretrain",
               output="the folder to write"),
        config="none",
    ),
    Mode(
        "baseline", "a bag of words or characters on the same data, to be beaten",
        ("--config=configs/imdb.py --exp=imdb_tfidf",
         "--config=configs/imdb.py --exp=imdb_chars --config.baseline.kind=chars"),
        _flags("data dry_run exp resume runs"), run="baseline", options=("baseline",),
    ),
    Mode(
        "eval", "metrics and speed of a classifier, on its data or on a file",
        ("--exp=imdb_lsh", "--exp=imdb_lsh --split=train",
         "--exp=imdb_lsh --input=new_reviews.csv"),
        _flags("split runs", exp=_CLASSIFIER, input="a file with labels, instead of the data"),
        config="options or data", run="finetune", module="evaluate",
        options=("predict", "data.path", "data.text_column", "data.label_column"),
    ),
    Mode(
        "predict", "labels and probabilities for texts of a file or standard input",
        ("--exp=imdb_lsh --input=reviews.csv --output=labels.csv",
         "--run=imdb_model --input=reviews.jsonl"),
        _flags("format on_bad_row raw runs", exp=_CLASSIFIER,
               run="the folder of a run or of an exported classifier, instead of --exp",
               input="a file, or - for standard input (default)",
               output="a file; default: standard output"),
        config="options", run="finetune", options=("predict", "data.text_column"),
    ),
    Mode(
        "merge", "fold what LoRA (or the head alone) learned into a plain run",
        ("--exp=imdb_lora",),
        _flags("runs", exp=_CLASSIFIER, output="name of the new run; default: <exp>_merged"),
        config="none",
    ),
    Mode(
        "minbert", "predictions on dev and test as the minBERT course wants them",
        ("--exp=sst --output=predictions",),
        _flags("runs", exp=_CLASSIFIER, output="a folder; default: that of the run"),
        config="data", run="finetune", options=("data",),
    ),
    Mode(
        "export", "a folder that predicts without the run: weights, StableHLO",
        ("--exp=imdb_lsh --output=imdb_model",),
        _flags("output runs", exp=_CLASSIFIER, run="the folder of the run, instead of --exp"),
        config="options", run="finetune", options=("predict", "data.text_column"),
    ),
    Mode(
        "compare", "which attention to use: a page, tables and a plot of all runs",
        ("--runs=runs", "--rank_by=time_per_epoch"), _flags("rank_by runs"), options=("log",),
    ),
    Mode(
        "replay", "run a run again as it was saved, and compare the results",
        ("--run=runs/finetune/imdb_lsh", "--run=runs/report"),
        _flags("", run="the folder of a run, or of a report for all its runs"), config="none",
    ),
    Mode(
        "data", "what a run would read: splits, classes, lengths, duplicates",
        ("--data=reviews.csv", "--config=configs/imdb.py --config.data.path=my_folder"),
        _flags("data dry_run pretrain stage runs", exp="name of the report; default: the corpus"),
        config="needed", options=("data",),
    ),
    Mode(
        "verify", "repeat steps of a finished run: are they bitwise the same?",
        ("--run=runs/finetune/imdb_lsh --steps=200",), _flags("run steps"), config="none",
    ),
    Mode(
        "check", "is a run, or an exported folder, whole and unchanged?",
        ("--run=runs/finetune/imdb_lsh", "--run=imdb_model", "--run=runs"),
        _flags("", run="the folder of a run, of several, or an exported one"), config="none",
        cached=False, computes=False,
    ),
    Mode(
        "plan", "what a run will need: memory, devices it fits on, time",
        ("--config=configs/lsh_small.py", "--run=runs/pretrain/wiki_lsh"),
        _flags("data dry_run pretrain stage runs",
               exp="name of the run; default: that of the file",
               run="the folder of a run, instead of --config"),
        options=("plan",), cached=False,
    ),
    Mode(
        "profile", "time, memory and errors of the attentions by length",
        ("--config=configs/profile_quick.py", "--exp=imdb_lsh --trace"),
        _flags("trace runs", exp=f"{_CLASSIFIER} that shows the errors",
               pretrain="the pretrained run that shows the errors, instead of --exp"),
        settings="pretrain", options=("profile",), cached=False,
    ),
)}  # fmt: skip
"""Name of a mode -> the mode, in the order of the help."""
