"""IMDB with each attention on one GPU within a number of seconds, and the report of it.

Beforehand, on any machine (a minute and a half): the vocabulary, and the TF-IDF baseline, which
needs no GPU. Then the comparison, where there is a GPU:

    python benchmarks/gpu/compare_imdb.py --prepare <folder of Parquet files> .imdb
    OUT=<folder> python benchmarks/gpu/compare_imdb.py

The trainings are ordinary runs of configs/imdb_gpu.py; TINY=1 rehearses all of it on a CPU. What is
not ordinary is when they do what:

- Every stage is a process that imports its modules at once and is given its flags later. It reads,
  tokenises and compiles while another stage trains, and begins its steps when it is told to: so
  one stage at a time trains. The classifiers, whose time per epoch is compared, begin when no stage
  is compiling any more (QUIET=0: before); those of attentions that are still being pretrained are
  compiled ahead, from random weights, so that their programs are in the cache (AHEAD=0: not).
- Steps: all attentions pretrain for as many steps, as PRETRAIN_SECONDS allow them on average by
  STEP_MS. The first attention is timed; where it is much slower than that, all are begun anew with
  fewer steps. The epochs of fine-tuning (EPOCHS at most) follow from the measured steps and from
  what is left of BUDGET.
- What is too slow all the same is asked to stop: a classifier goes on from a pretraining that was
  stopped. What is not finished when BUDGET ends is left out of the report.

In OUT, written anew after each attention: log.txt, stages.txt (what the stages said), runs.tar.gz
(the run folders without checkpoints and vocabulary), results.csv, summary.csv, index.html,
quality_vs_cost.png.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.gpu.imdb_process import DATA, NAME, RUNS, environment, flags
from benchmarks.gpu.imdb_schedule import ATTENTIONS, OUT, Comparison, OutOfTime, say
from benchmarks.gpu.imdb_stage import ROOT, WORK


def report(show: bool) -> None:
    """`--mode=compare` over all runs, then everything to OUT."""
    told = subprocess.run(
        [sys.executable, "-m", "jaxattn", "--mode=compare", f"--runs={RUNS}"],
        cwd=ROOT, env=environment() | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    if show:
        print(told.stdout + told.stderr[-2000:], flush=True)
    with (OUT / "stages.txt").open("w") as file:
        for said in sorted(WORK.glob("*.said"), key=lambda path: path.stat().st_mtime):
            file.write(f"== {said.stem}\n{said.read_text(errors='replace')[-100_000:]}\n")
        file.write(f"== compare\n{told.stdout}\n{told.stderr}\n")
    for name in ("results.csv", "summary.csv", "index.html", "quality_vs_cost.png"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(RUNS / "report" / name, OUT / name)

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        left_out = {"checkpoints", "tokenizer.json", "tfidf_model.npz", "tfidf_terms.txt"}
        return None if left_out & set(Path(entry.name).parts) else entry

    packed = OUT / ".runs.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=6) as archive:
        archive.add(RUNS, "runs", filter=kept)
    packed.replace(OUT / "runs.tar.gz")


class Reporter:
    """Writes the report again and again, in a process of its own."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Begins a report where none is being written."""
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                ["nice", "-n", "15", sys.executable, str(Path(__file__).resolve()), "--report"],
                cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def end(self) -> None:
        """Waits a little for the one that is being written, then ends it."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
            if self.process.poll() is None:
                self.process.kill()


def main() -> int:
    """All of it; 0 if every classifier was finished."""
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(WORK, ignore_errors=True)
    RUNS.mkdir(parents=True)
    if (DATA / "baseline").is_dir():
        shutil.copytree(DATA / "baseline", RUNS / "baseline")
    reporter = Reporter()
    comparison = Comparison(reporter.begin)
    # The machine's time may be up before ours.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        comparison.run()
    except OutOfTime:
        say("the time is up")
        for stage in comparison.stages.values():
            if stage.alive and stage.asked:
                say(f"not finished: {stage.name}: {stage.state}")
    finally:
        comparison.end()
        reporter.end()
        report(show=True)
        say("done")
    finished = [comparison.classifier(name).state == "finished" for name in ATTENTIONS]
    return 0 if all(finished) else 1


def prepare(source: Path, target: Path) -> None:
    """Makes what the comparison starts from: the Parquet files, a vocabulary, the baseline."""
    from jaxattn import cli
    from jaxattn.data.corpora.splits import load_texts
    from jaxattn.data.tokens.vocabularies import new_tokenizer
    from jaxattn.data.tokens.wordpiece import save_tokenizer

    (target / "data").mkdir(parents=True, exist_ok=True)
    for name in ("train", "test", "unsup"):
        shutil.copyfile(source / f"{name}.parquet", target / "data" / f"{name}.parquet")
    request = cli.parse(flags("pretrain", target / "data", None))
    assert request is not None
    config = request.resolved()
    print("making the vocabulary", flush=True)
    save_tokenizer(
        new_tokenizer(load_texts(config.data).train, config.tokenizer), target / "tokenizer.json"
    )
    baseline = flags("baseline", target / "data", None)
    sys.exit(cli.run([*baseline, f"--exp={NAME}_tfidf", f"--runs={target}"]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--report"]:
            report(show=False)
        case ["--prepare", source, target]:
            prepare(Path(source), Path(target))
        case []:
            sys.exit(main())
        case _:
            sys.exit(__doc__)
