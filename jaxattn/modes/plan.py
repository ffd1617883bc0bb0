"""--mode=plan: what a run will need, before it is begun; and what it then took.

Memory is that of the step that training compiles, on abstract arrays (on a CPU it is compiled as a
GPU's would be); time is that of a few real steps on made-up batches. The
plan is written to runs/plan/<kind>/<exp>/plan.json.
"""

from jaxattn.config import binding_options
from jaxattn.console import say
from jaxattn.errors import InputError
from jaxattn.files import entry, read_json, write_json
from jaxattn.plan.plan import Plan, check, make_plan
from jaxattn.plan.show import print_check, print_plan
from jaxattn.plan.workload import Subject, subject_of
from jaxattn.request import Request
from jaxattn.stages.machine import device_name


def run(request: Request) -> None:
    """Plans a run and prints the plan; where the run is finished, beside what it took.

    With --run alone the plan that was made before the run is kept, if it was of the same options.
    """
    subject = subject_of(request)
    path = subject.plan_path
    plan = _kept_plan(subject) if request.run and request.config is None else None
    if plan is None:
        plan = make_plan(subject)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)
    else:
        say(f"this plan was made before: {path}")
    print_plan(plan)
    if subject.folder.state == "finished":
        checked = check(plan, subject.folder, binding_options(subject.folder.saved.config()[0]))
        write_json(path.with_name("check.json"), checked)
        print_check(checked)
    print(f"written: {path}")


def _kept_plan(subject: Subject) -> Plan | None:
    """The plan made before, if there is one of the same options, start and device."""
    try:
        plan: Plan = read_json(subject.plan_path)
        options = entry(plan, "options", dict, subject.plan_path)
    except InputError:
        return None
    same = options == binding_options(subject.config) and plan["device"] == device_name()
    return plan if same and plan["pretrain"] == subject.pretrain else None
