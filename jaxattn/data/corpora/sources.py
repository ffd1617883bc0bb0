"""Where a corpus is read from: a folder, a single file, the hub, or what is built in."""

import dataclasses

from jaxattn.config import DataConfig
from jaxattn.data.corpora import listops, pydocs, pyroles
from jaxattn.data.corpora.folders import file_source, folder_source
from jaxattn.data.corpora.known import CORPORA
from jaxattn.data.corpora.source import Source
from jaxattn.data.read.hub import open_hub
from jaxattn.data.read.rows import Rows, read_file
from jaxattn.errors import InputError, did_you_mean
from jaxattn.files import default_cache, expanded, unfit, warn_nothing_kept


def open_source(data: DataConfig) -> Source:
    """`data.path` if it is set, else `data.hub`, else the built-in corpus of `data.name`.

    Raises:
        InputError: there is no such file, format, data set or built-in corpus.
    """
    if data.path:
        path = expanded(data.path)
        if path.is_dir():
            return folder_source(path, data)
        if not path.exists():
            is_id = data.path.count("/") == 1 and data.path[0] not in "./~" and not path.suffix
            hint = f"; a data set of the Hugging Face hub is data.hub={data.path}" if is_id else ""
            raise InputError(f"data.path: there is no file or folder {path}{hint}")
        if why := unfit(path):
            # It is read more than once.
            raise InputError(f"data.path: {path}: {why}; write what it gives to a file")
        return file_source(path, data)
    if data.hub:
        splits, read = open_hub(data)
        return Source(data.hub, splits, read)
    if data.name == "pydocs":
        return _built_in(data.name, pydocs.read_pydocs(cache=default_cache()))
    if data.name == "pyroles":
        return _built_in(data.name, pyroles.read_pyroles(cache=default_cache()))
    if data.name == "listops":
        return _listops(data)
    if data.name in CORPORA and not CORPORA[data.name].hub:
        raise InputError(
            f"data.name: {data.name!r} is not on the hub; set data.path to its files "
            f"({CORPORA[data.name].notes})"
        )
    raise InputError(
        f"data.name: {data.name!r} is not built in (built in: pydocs, pyroles, listops); set "
        "data.path to its files or data.hub to its id"
        + ("" if data.name in CORPORA else did_you_mean(data.name, tuple(CORPORA)))
    )


def _built_in(name: str, splits: dict[str, Rows]) -> Source:
    return Source(name, tuple(splits), lambda split, _: splits.get(split))


def _listops(data: DataConfig) -> Source:
    data = dataclasses.replace(data, text_column="text", label_column="label")

    def read(split: str, _: tuple[str, ...]) -> Rows | None:
        if split not in listops.SIZES:
            return None
        count = listops.size_of(split, data.max_examples)
        cache = default_cache()
        try:
            file = None if cache is None else listops.listops_file(split, count, cache)
        except OSError as error:
            assert cache is not None
            # A home that cannot be written to costs time on every start, nothing else.
            warn_nothing_kept(cache, error)
            file = None
        rows = listops.in_memory(split, count) if file is None else read_file(file, data)
        # A small sample may lack a value.
        return dataclasses.replace(rows, class_names=listops.WORDS[:10])

    return Source("listops", tuple(listops.SIZES), read)
