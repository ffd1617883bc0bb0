"""--mode=sweep: a grid of runs, side by side, each in a process and a run folder of its own."""

from jaxattn.request import Request
from jaxattn.sweeps.cells import read_sweep
from jaxattn.sweeps.sweep import check_all, run_sweep


def run(request: Request) -> int:
    """Runs what is missing of a sweep; writes runs/sweep/<name>/sweep.json.

    Finished cells are left alone, interrupted ones go on; failed ones are run again with --resume.
    A cell that fails is noted with its cause, what depends on it is left out, and the others go on.
    """
    cells = read_sweep(request.started())
    check_all(cells)
    if not request.dry_run:
        return run_sweep(cells)
    from jaxattn.sweeps.needs import print_cells

    print_cells(cells)
    return 0
