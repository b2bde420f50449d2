"""The one table of verbs, with all options of each.

From it come the parser of the magics and of the terminal, their ``--help``, tab completion, and
the signatures and docstrings of the Python calls. An option that is not here does not exist; one
that is here does something in every verb that lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from nbautoml.api.option import Option, Place, Verb
from nbautoml.api.options import COMPRESS, HOME, HOW, SETTINGS, TIME, TUNE, WHAT

__all__ = ["VERBS", "in_python"]

_NEW = Place(name="NAME", what="new run", help="what the run is called; becomes a variable")
_RUN = Place(name="NAME", what="run", help="name or id of a run")
_YES = Option(
    name="yes", kind="flag", help="delete for good, instead of moving to the trash", default=False
)
_TRIAL = Option(name="trial", kind="number", help="number of a trial; the best when left out")

_TUNE_CELL = """\
%%automl tune digits --data (X, y) --metric accuracy --trials 60
class Net(nn.Module):
    def __init__(self, hidden: Int(16, 256, log=True) = 64): ...
    def forward(self, x): ...

lr = Float(1e-4, 1e-1, log=True)
optimizer = Choice("sgd", "adam", "adamw")"""

_TABLE = (
    Verb(
        name="tune",
        purpose="find the values with which a model is best",
        places=(_NEW,),
        options=(*TUNE, *SETTINGS),
        in_cell=True,
        in_terminal=False,
        example=_TUNE_CELL,
        story="What varies stands in the annotations of the model's __init__ or is assigned in the "
        "cell: Int, Float, Choice. A plain value is fixed.",
    ),
    Verb(
        name="train",
        purpose="train a model once, with live curves",
        places=(_NEW,),
        options=(
            *WHAT,
            Option(
                name="params",
                kind="expression",
                help="a dict of values for the model and the trainer, such as {run.best.params}",
            ),
            TIME,
            *HOW,
            *SETTINGS,
        ),
        in_cell=True,
        in_terminal=False,
        example="%automl train last --model Net --data (X, y) --epochs 30 --lr 0.003",
        story="Dimensions in the signature take their default.",
    ),
    Verb(
        name="compress",
        purpose="make a trained model smaller and faster, and prove it",
        places=(_NEW,),
        options=(*COMPRESS, *SETTINGS),
        in_cell=True,
        in_terminal=False,
        example="%automl compress small --model run.best_model --data (X, y) --max-drop 0.01 "
        "--max-latency 2ms",
        story="Every model is measured after export, on this machine, beside the original. "
        "Settings are those of the fine-tuning; --epochs is its longest, and "
        "that of each technique that is named by its word. A cell may assign model, "
        "method and student.",
    ),
    Verb(
        name="runs",
        purpose="list the runs",
        options=(HOME,),
        example="%automl runs",
    ),
    Verb(
        name="show",
        purpose="show a run, and bind its name",
        places=(_RUN,),
        options=(HOME,),
        example="%automl show digits",
    ),
    Verb(
        name="stop",
        purpose="end a run now; what was measured is kept",
        places=(_RUN,),
        options=(HOME,),
        example="%automl stop digits",
    ),
    Verb(
        name="pause",
        purpose="hold a run at the next batch",
        places=(_RUN,),
        options=(HOME,),
        example="%automl pause digits",
    ),
    Verb(
        name="resume",
        purpose="go on with a run that is paused, interrupted or stopped, or with more trials",
        places=(_RUN,),
        options=(
            Option(
                name="more",
                kind="count",
                help="so many trials beyond those that there are, also when it is finished",
            ),
            Option(
                name="time",
                kind="duration",
                help="so long beyond what it has spent, also when it is finished",
            ),
            Option(
                name="run_code",
                kind="flag",
                help="execute the code of a run that you did not submit here; look at it first",
                default=False,
            ),
            HOME,
        ),
        example="%automl resume digits --more 20",
        story="What --more and --time ask for takes the place of the run's budget; with neither it "
        "keeps its own. The sampler goes on from what the trials have shown.",
    ),
    Verb(
        name="rm",
        purpose="move a run to the trash, or delete it",
        places=(_RUN,),
        options=(_YES, HOME),
        example="%automl rm digits",
    ),
    Verb(
        name="code",
        purpose="write a plain PyTorch cell with a trial's values",
        places=(_RUN,),
        options=(_TRIAL, HOME),
        example="%automl code digits --trial 12",
        story="The cell needs no nbautoml and reaches the trial's metric again.",
    ),
    Verb(
        name="report",
        purpose="write one self-contained HTML file about a run",
        places=(_RUN,),
        options=(
            Option(name="path", kind="path", help="the file; NAME.html when left out"),
            HOME,
        ),
        example="%automl report digits --path digits.html",
    ),
    Verb(
        name="verify",
        purpose="repeat some trials, and say which give the same numbers",
        places=(_RUN,),
        options=(
            Option(
                name="trials",
                kind="trials",
                help="how many (the best first, then others by chance; 3 when left out), or their "
                "numbers: 4,7",
            ),
            Option(
                name="run_code",
                kind="flag",
                help="the run came in an archive, and its code may be executed all the same",
                default=False,
            ),
            Option(
                name="json", kind="flag", help="the result as JSON, not as a table", default=False
            ),
            HOME,
        ),
        example="%automl verify digits --trials 5",
        story="They are trained as the run did it, with its code, data and seeds, in a process of "
        "their own; nothing is written to the run. In a terminal the exit code is 1 where a trial "
        "differs by more than rounding.",
    ),
    Verb(
        name="compare",
        purpose="two runs side by side, and how their code differs",
        places=(
            Place(name="A", what="run", help="name or id of a run"),
            Place(name="B", what="run", help="name or id of another"),
        ),
        options=(HOME,),
        example="%automl compare digits digits_2",
    ),
    Verb(
        name="export",
        purpose="write a run to one archive that others can open",
        places=(_RUN,),
        options=(
            Option(name="path", kind="path", help="the file; NAME.zip when left out"),
            Option(name="with_data", kind="flag", help="put the data in, too", default=False),
            HOME,
        ),
        example="%automl export digits --with-data",
    ),
    Verb(
        name="import",
        purpose="take in a run from an archive",
        places=(Place(name="FILE", what="path", help="what export wrote"),),
        options=(HOME,),
        example="%automl import digits.zip",
    ),
    Verb(
        name="help",
        purpose="what there is, or all about one verb",
        places=(Place(name="VERB", what="verb", help="one of the verbs", is_optional=True),),
        example="%automl help tune",
    ),
)
VERBS: Mapping[str, Verb] = MappingProxyType({verb.name: verb for verb in _TABLE})
"""Every verb by its name, in the order in which help lists them."""


def in_python(verb: Verb) -> tuple[Option, ...]:
    """The options of a verb's Python call: the model is its first argument, settings are open."""
    own = tuple(o for o in verb.options if o.kind != "setting" and o.name != "model")
    name = Option(name="name", kind="text", help="what the run is called; made up when left out")
    return tuple(replace(o, help=o.help.replace("--", "")) for o in (name, *own))
