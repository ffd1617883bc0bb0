"""--mode=data: what a run of this configuration would read, before it is run."""

from jaxattn.files import write_json
from jaxattn.plan.show_survey import print_survey
from jaxattn.plan.survey import survey
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.origin import pretrained_config


def run(request: Request) -> None:
    """Reads the data of --config, prints tables and writes runs/data/<name>/report.json.

    <name> is --exp, or the name of the corpus. With --pretrain the vocabulary is that run's.
    """
    config = request.resolved(
        pretrained_config(request.runs, request.pretrain) if request.pretrain else None
    )
    folder = RunFolder(
        request.runs, "pretrain", request.exp_or(config.data.name, "data.name", what="report")
    )
    report = survey(folder, config, request.pretrain)
    target = request.runs / "data" / folder.exp
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "report.json", report)
    print_survey(report)
    print(f"written: {target / 'report.json'}")
