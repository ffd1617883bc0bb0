"""Writes the README's table and picture from the run that `bash reproduce.sh` has just made.

    bash reproduce.sh && .venv/bin/python benchmarks/readme.py

One run, one script: what stands between the marks in README.md, and docs/quality_vs_cost.png,
come from `runs/report` and from nowhere else.
"""

import argparse
import csv
import shutil
from pathlib import Path

from jaxattn.runs.kinds import BASELINE_LABELS

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
DATA = ("pyroles", "pydocs")
HEADINGS = (
    "attention",
    "test macro-F1",
    "95 % interval",
    "against sdpa, pp",
    "accuracy",
    "s / epoch",
    "tokens/s",
    "time / sdpa",
    "peak memory MiB",
    "parameters",
)
NAMES = BASELINE_LABELS


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table of the report."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text: str, decimals: int = 0, factor: float = 1.0, sign: bool = False) -> str:
    """A cell of the report, rounded; "-" where it is empty."""
    if not text:
        return "-"
    return f"{factor * float(text):{'+' if sign else ''},.{decimals}f}"


def table(report: Path, data: str) -> str:
    """The study of a data set as a Markdown table, best first."""
    groups = {r["attention"]: r for r in read(report / "summary.csv") if r["data"] == data}
    lines = [" | ".join(HEADINGS), " | ".join("---" for _ in HEADINGS)]
    ranked = [row for row in read(report / "results.csv") if row["rank"] and row["data"] == data]
    for row in sorted(ranked, key=lambda row: int(row["rank"])):
        name = row["attention"]
        group = groups[name]
        low, high = (number(group[key], 2, 100) for key in ("low", "high"))
        difference = "-"
        if group["vs_sdpa"]:
            ends = [number(group[f"vs_sdpa{end}"], 2, 100, True) for end in ("", "_low", "_high")]
            difference = f"{ends[0]} ({ends[1]} to {ends[2]})"
        cells = (
            NAMES.get(name, f"`{name}`"),
            number(row["test_macro_f1"], 2, 100),
            "-" if low == "-" else f"{low} to {high}",
            difference,
            number(row["test_accuracy"], 2, 100),
            number(row["time_per_epoch"]),
            number(row["tokens_per_second"]),
            number(row["time_vs_sdpa"], 2),
            number(row["max_gpu_mem_MiB"] or row["peak_rss_MiB"]),
            number(row["parameters"]),
        )
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Rewrites README.md between the marks of each data set, and copies the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--report", type=Path, default=ROOT / "runs" / "report")
    report = parser.parse_args().report
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    for data in DATA:
        begin, end = BEGIN.format(data), END.format(data)
        before, _, rest = text.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise SystemExit(f"{readme}: expected the marks {begin} and {end}")
        text = f"{before}{begin}\n{table(report, data)}\n{end}{after}"
    readme.write_text(text, encoding="utf-8")
    shutil.copy(report / "quality_vs_cost.png", ROOT / "docs" / "quality_vs_cost.png")
    print(f"{readme}, docs/quality_vs_cost.png: written from {report}")


if __name__ == "__main__":
    main()
