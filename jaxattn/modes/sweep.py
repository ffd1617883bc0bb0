"""--mode=sweep: a grid of runs, side by side, each in a process and a run folder of its own."""

from jaxattn.errors import InputError
from jaxattn.request import Request
from jaxattn.runs.folder import NAME
from jaxattn.sweeps.cells import read_sweep
from jaxattn.sweeps.local import check_devices
from jaxattn.sweeps.sweep import _run, check_all


def run(request: Request) -> int:
    """Runs what is missing of a sweep; writes runs/sweep/<name>/sweep.json.

    Finished cells are left alone, interrupted ones go on; failed ones are run again with --resume.
    A cell that fails is noted with its cause, what depends on it is left out, and the others go on.

    Returns:
      0, 1 if any cell is not finished, 128 + signal after a request to stop.
    """
    cells = read_sweep(request)
    if not NAME.fullmatch(cells.name):
        raise InputError(f"--exp: found {cells.name!r}, allowed: letters, digits, '_', '.', '-'")
    options = request.resolved().sweep
    check_devices(options.devices)
    check_all(cells)
    if request.dry_run:
        from jaxattn.sweeps.needs import print_cells

        print_cells(cells)
        return 0
    return _run(cells, options)
