"""--mode=baseline: TF-IDF and logistic regression on the same texts and splits."""

from jaxattn.config import AUTO_PRECISION, Config, replace
from jaxattn.modes.begin import continued
from jaxattn.request import Request
from jaxattn.runs.folder import RunFolder
from jaxattn.stages.baseline import baseline


def run(request: Request) -> None:
    """Fits and tests the baseline into runs/baseline/<exp>/."""
    folder = RunFolder(request.runs, "baseline", request.needed("exp", "imdb_tfidf"))
    folder.must_be_free(request.resume)
    config: Config | None
    if folder.begun:
        config = continued(request, folder)
    else:
        config = request.resolved()
        if config.train.precision == AUTO_PRECISION:
            # Scikit-learn has no part in what a GPU can do.
            config = replace(config, {"train.precision": "float32"})
    if config is not None:
        baseline(folder, config)
