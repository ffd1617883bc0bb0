"""--mode=baseline: a bag of n-grams on the same texts and splits."""

from jaxattn.config import AUTO_PRECISION, Config, replace
from jaxattn.modes.begin import begun_or_new
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.baseline import baseline


def run(request: Request) -> None:
    """Fits and tests the baseline into runs/baseline/<exp>/."""
    folder = RunFolder(request.runs, "baseline", request.run_name("imdb_tfidf"))

    def new() -> Config:
        config = request.resolved()
        if config.train.precision != AUTO_PRECISION:
            return config
        # Scikit-learn has no part in what a GPU can do.
        return replace(config, {"train.precision": "float32"})

    with folder.locked():
        config = begun_or_new(request, folder, new)
        if config is not None:
            baseline(folder, config)
