"""--mode=compare: tables, a picture and a page over a folder of runs."""

from jaxattn.config import LogConfig
from jaxattn.report.compare import compare
from jaxattn.request import Request


def run(request: Request) -> None:
    """Compares every run under --runs; writes its report/ folder, and publishes it if told to."""
    log = request.resolved().log if request.config is not None else LogConfig()
    compare(request.runs, log, request.rank_by or "test_macro_f1")
