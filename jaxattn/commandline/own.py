"""--data: what a person's own texts stand for, said and added to the flags."""

import dataclasses
import os
import shlex

from jaxattn.commandline.encoder import fitting_file
from jaxattn.commandline.parse import OWN_FILES, configured
from jaxattn.config import flatten
from jaxattn.console import say
from jaxattn.data.corpora.own import look_at
from jaxattn.request import Request


def with_own_texts(request: Request) -> Request:
    """The request with the options that --data stands for, which are said.

    Raises:
      InputError: nothing is there, or what the columns are is uncertain.
    """
    options = {} if request.config is None else flatten(request.config.to_dict())
    given = {name: str(options[name]) for name in request.given if name in options}
    if request.config_file not in OWN_FILES:
        given["--config"] = request.config_file
    own = look_at(request.data, given, labelled=request.mode.name not in ("pretrain", "tapt"))
    file, *others = sorted(request.config_args, key=lambda arg: not arg.startswith("--config="))
    flags = [file, *own.flags(given)]
    for line in own.said:
        say(line)
    fitting, why = fitting_file(request.mode, os.environ)
    # Of a file that was given and is another one the reason is not true.
    if why and not request.pretrain and request.config_file == fitting:
        say(why)
    say(f"--data={request.data} stands for: {' '.join(map(shlex.quote, flags))}")
    return configured(dataclasses.replace(request, config_args=(*flags, *others)))
