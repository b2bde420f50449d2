"""The one table of words: every option of every verb.

From it come the parser of the magics and of the terminal, their ``--help``, tab completion, and
the signatures and docstrings of the Python calls. An option that is not here does not exist; one
that is here does something in every verb that lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from nbautoml.api.option import Option, Place, Verb
from nbautoml.compress.table import TECHNIQUES
from nbautoml.spec import METRICS, SETTING_HELP, SIZES, TASKS

__all__ = [
    "DEFAULT_MODELS",
    "SAMPLER_NAMES",
    "SETTINGS",
    "STOPPER_NAMES",
    "VERBS",
    "Option",
    "Place",
    "Verb",
]

# Names alone: the tables themselves load optuna. A test holds the two together.
SAMPLER_NAMES = ("auto", "bayes", "tpe", "random", "grid", "gp", "cmaes", "qmc", "nsga2", "brute")
STOPPER_NAMES = (
    "auto",
    "asha",
    "hyperband",
    "median",
    "percentile",
    "wilcoxon",
    "patient",
    "none",
)
DEFAULT_TRIALS = 50
DEFAULT_MODELS = 32


HOME = Option(
    name="home",
    kind="path",
    help="folder of the runs; .nbautoml here, or NBAUTOML_HOME, when left out",
)
SETTINGS = tuple(
    Option(name=name, kind="setting", help=text) for name, text in SETTING_HELP.items()
)

_WHAT = (
    Option(
        name="data",
        kind="expression",
        help="(X, y), (X, y, X_val, y_val), a DataFrame, Dataset or DataLoader, or a named set: "
        "digits, wine, breast_cancer, diabetes",
        suggests=("digits", "wine", "breast_cancer", "diabetes"),
    ),
    Option(
        name="model",
        kind="expression",
        help="what is trained, when the cell does not define it: an nn.Module class, "
        "an objective(trial), or a scikit-learn class",
    ),
    Option(name="target", kind="text", help="the column of a DataFrame that is predicted"),
    Option(
        name="task", kind="text", help="what is predicted; inferred when left out", choices=TASKS
    ),
    Option(
        name="metric",
        kind="names",
        help="what is judged, several with commas (accuracy,n_parameters); accuracy for classes "
        "and rmse for numbers when left out",
        suggests=(*METRICS, *SIZES),
    ),
    Option(
        name="maximize",
        kind="flag",
        help="larger is better (inferred for known metrics)",
        default=False,
    ),
    Option(
        name="minimize",
        kind="flag",
        help="smaller is better (inferred for known metrics)",
        default=False,
    ),
    Option(name="valid", kind="share", help="share of the rows kept for validation", default=0.2),
)
_HOW = (
    Option(name="seed", kind="number", help="every random number derives from it", default=0),
    Option(
        name="executor",
        kind="text",
        help="process: one trial a worker; vectorized: many trials trained as one in each; "
        "inline: here, blocking, for pdb and prints; auto measures the first two",
        default="auto",
        choices=("auto", "inline", "process", "vectorized"),
    ),
    Option(
        name="device",
        kind="text",
        help="auto, cpu, cuda, cuda:1, mps",
        default="auto",
        suggests=("auto", "cpu", "cuda", "mps"),
    ),
    Option(
        name="detach",
        kind="flag",
        help="the run goes on when the kernel is shut down or restarted on purpose",
        default=False,
    ),
    Option(name="wait", kind="flag", help="the cell ends when the run does", default=False),
    HOME,
)
_SPACE = Option(
    name="space",
    kind="expression",
    help="a dict of what varies (and of fixed values), beside what the model's signature says",
)
_TIME = Option(
    name="time", kind="duration", help="for the whole run; what is running then is stopped"
)
_TUNE = (
    *_WHAT,
    _SPACE,
    Option(
        name="trials",
        kind="count",
        help=f"how many; {DEFAULT_TRIALS} when neither this nor --time is given",
    ),
    _TIME,
    Option(name="timeout_per_trial", kind="duration", help="a trial that takes longer fails"),
    Option(
        name="sampler",
        kind="text",
        help="who suggests the trials",
        default="auto",
        choices=SAMPLER_NAMES,
    ),
    Option(
        name="stopper",
        kind="text",
        help="who ends hopeless trials early",
        default="auto",
        choices=STOPPER_NAMES,
    ),
    Option(
        name="enqueue",
        kind="expression",
        help="a dict of parameters, or a list of them, that are tried first",
    ),
    Option(name="workers", kind="count", help="trials at once; the engine chooses when left out"),
    Option(
        name="deterministic",
        kind="flag",
        help="the same trial table on any number of workers: trials are drawn in rounds of 8",
        default=False,
    ),
    *_HOW,
)
_LATENCY_ROWS = 1
_COMPRESS = (
    Option(
        name="data",
        kind="expression",
        help="what it was trained on, as for tune; a run that is given as --model brings its own",
        suggests=("digits", "wine", "breast_cancer", "diabetes"),
    ),
    Option(
        name="model",
        kind="expression",
        help="a trained nn.Module, or a run, whose best model is taken",
    ),
    Option(
        name="method",
        kind="techniques",
        help="auto searches; or techniques in order, with commas: " + ", ".join(TECHNIQUES),
        default="auto",
        suggests=("auto", *TECHNIQUES),
    ),
    Option(
        name="max_drop",
        kind="drop",
        help="how much worse the metric may become, in its own unit",
        default=0.01,
    ),
    Option(name="max_latency", kind="milliseconds", help="of one batch in ONNX Runtime"),
    Option(name="max_size", kind="bytes", help="of the file that is deployed"),
    Option(name="max_memory", kind="bytes", help="of tensors alive at once in a pass"),
    Option(
        name="rows",
        kind="count",
        help="rows of the batch that latency is measured with",
        default=_LATENCY_ROWS,
    ),
    Option(name="target", kind="text", help="the column of a DataFrame that is predicted"),
    Option(
        name="task", kind="text", help="what is predicted; inferred when left out", choices=TASKS
    ),
    Option(
        name="metric",
        kind="text",
        help="what must not drop; accuracy for classes and rmse for numbers when left out",
        suggests=tuple(METRICS),
    ),
    Option(name="valid", kind="share", help="share of the rows kept for validation", default=0.2),
    Option(
        name="trials",
        kind="count",
        help=f"models to try; {DEFAULT_MODELS} when neither this nor --time is given",
    ),
    _TIME,
    Option(name="timeout_per_trial", kind="duration", help="a trial that takes longer fails"),
    Option(
        name="sampler",
        kind="text",
        help="auto tries known settings, then tpe with little fine-tuning, then those near the "
        "front with all of it; the others draw from the whole space",
        default="auto",
        choices=("auto", "tpe", "nsga2", "random"),
    ),
    Option(name="workers", kind="count", help="trials at once; the engine chooses when left out"),
    *(option for option in _HOW if option.name != "executor"),
    Option(
        name="executor",
        kind="text",
        help="process: one model a worker; inline: here, blocking, for pdb and prints",
        default="process",
        choices=("process", "inline"),
    ),
)
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
        options=(*_TUNE, *SETTINGS),
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
            *_WHAT,
            Option(
                name="params",
                kind="expression",
                help="a dict of values for the model and the trainer, such as {run.best.params}",
            ),
            _TIME,
            *_HOW,
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
        options=(*_COMPRESS, *SETTINGS),
        in_cell=True,
        in_terminal=False,
        example="%automl compress small --model run.best_model --data (X, y) --max-drop 0.01 "
        "--max-latency 2ms",
        story="Every model is measured after export, on this machine, beside the original. "
        "Settings are those of the fine-tuning; --epochs is its longest. A cell may assign model "
        "and method.",
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
        purpose="go on with a run that is paused, interrupted or stopped",
        places=(_RUN,),
        options=(
            Option(
                name="run_code",
                kind="flag",
                help="execute the code of a run that you did not submit here; look at it first",
                default=False,
            ),
            HOME,
        ),
        example="%automl resume digits",
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
