"""The options of the verbs that start a run; `nbautoml.api.verb_table` says which verb takes which."""

from __future__ import annotations

from nbautoml.api.option import Option
from nbautoml.compress.quantizers import QUANTIZERS
from nbautoml.compress.table import TECHNIQUES
from nbautoml.spec import METRICS, SETTING_HELP, SIZES, TASKS

__all__ = [
    "COMPRESS",
    "DEFAULT_MODELS",
    "DEFAULT_TRIALS",
    "HOME",
    "HOW",
    "SAMPLER_NAMES",
    "SETTINGS",
    "STOPPER_NAMES",
    "TIME",
    "TUNE",
    "WHAT",
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

WHAT = (
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
        "a function that makes a module, an objective(trial), or a scikit-learn class",
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
HOW = (
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
TIME = Option(
    name="time", kind="duration", help="for the whole run; what is running then is stopped"
)
TUNE = (
    *WHAT,
    _SPACE,
    Option(
        name="trials",
        kind="count",
        help=f"how many; {DEFAULT_TRIALS} when neither this nor --time is given",
    ),
    TIME,
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
    *HOW,
)
_LATENCY_ROWS = 1
COMPRESS = (
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
        help="auto searches; techniques with commas are applied in order, or, with --trials or "
        "--time, searched among: " + ", ".join(TECHNIQUES),
        default="auto",
        suggests=("auto", *TECHNIQUES),
    ),
    Option(
        name="quantizer",
        kind="text",
        help="who quantises, where it is searched or named by its word; torchao needs the extra",
        default="onnxruntime",
        choices=tuple(QUANTIZERS),
    ),
    Option(
        name="student",
        kind="expression",
        help="a smaller module of any class, or a run, whose best model is taken: it learns from the "
        'model, in a search, with --method distill, or by Distillation(student="given")',
    ),
    Option(
        name="max_drop",
        kind="drop",
        help="how much worse the metric may become, in its own unit",
        default=0.01,
    ),
    Option(name="max_latency", kind="milliseconds", help="of one batch in ONNX Runtime"),
    Option(name="max_size", kind="bytes", help="of the file that is deployed"),
    Option(name="max_memory", kind="bytes", help="of tensors alive at once in an eager pass"),
    Option(
        name="max_energy",
        kind="millijoules",
        help="of one batch, where this machine has a counter of it",
    ),
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
    TIME,
    Option(name="timeout_per_trial", kind="duration", help="a trial that takes longer fails"),
    Option(
        name="sampler",
        kind="text",
        help="auto tries known settings, then by turns points near the front and what tpe "
        "suggests, good models in all forms of numbers; the others draw from the whole space",
        default="auto",
        choices=("auto", "tpe", "nsga2", "random"),
    ),
    Option(name="workers", kind="count", help="trials at once; the engine chooses when left out"),
    *(option for option in HOW if option.name != "executor"),
    Option(
        name="executor",
        kind="text",
        help="process: one model a worker; inline: here, blocking, for pdb and prints",
        default="process",
        choices=("process", "inline"),
    ),
)
