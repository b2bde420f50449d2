"""Notebooks with values in them: kinds of objects, data, modules of torch."""

from __future__ import annotations

from capsule_cases import NET, Case, case

__all__ = ["VALUE_CASES"]

KINDS = [
    case(
        "enum",
        "from enum import Enum\nclass Kind(Enum):\n    A = 1\n    B = 2\nchosen = Kind.B",
        NET.format("(chosen.name, Kind.A.value, chosen is Kind.B)"),
    ),
    case(
        "flag",
        "from enum import Flag, auto\nclass P(Flag):\n    R = auto()\n    W = auto()\nboth = P.R | P.W",
        NET.format("(both.value, isinstance(both, P))"),
    ),
    case(
        "dataclass",
        "from dataclasses import dataclass, field\n@dataclass\nclass Cfg:\n    n: int = 3\n    xs: list = field(default_factory=list)\ncfg = Cfg(n=5, xs=[1])",
        NET.format("(cfg.n, cfg.xs, cfg == Cfg(5, [1]))"),
    ),
    case(
        "frozen dataclass in a dataclass",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass A:\n    n: int\n@dataclass\nclass B:\n    a: A\nb = B(A(2))",
        NET.format("b.a.n + x"),
    ),
    case(
        "named tuple",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    a: int\n    b: float = 2.0\np = P(1)",
        NET.format("(p.a, p.b, p == P(1))"),
    ),
    case(
        "collections.namedtuple",
        "from collections import namedtuple\nP = namedtuple('P', 'a b')\np = P(1, 2)",
        NET.format("(p.a, p._fields)"),
    ),
    case(
        "typed dict",
        "from typing import TypedDict\nclass T(TypedDict):\n    a: int",
        NET.format("T(a=x)"),
    ),
    case(
        "abstract base",
        "from abc import ABC, abstractmethod\nclass Base(ABC):\n    @abstractmethod\n    def forward(self, x): ...",
        "class Net(Base):\n    def forward(self, x): return 'whole'",
    ),
    case(
        "generic",
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self, v: T): self.v = v",
        NET.format("Box[int](x).v"),
    ),
    case(
        "type alias",
        "from typing import Optional\nMaybe = Optional[int]\ndef f(x: Maybe) -> Maybe: return x",
        NET.format("f(x)"),
    ),
    case(
        "protocol",
        "from typing import Protocol\nclass Fwd(Protocol):\n    def forward(self, x): ...",
        "class Net(Fwd):\n    def forward(self, x): return 'p'",
    ),
    case(
        "exception", "class Oops(ValueError):\n    pass", NET.format("issubclass(Oops, ValueError)")
    ),
    case(
        "plain object made again",
        "class Box:\n    def __init__(self, n): self.n = n\nbox = Box(3)",
        NET.format("box.n"),
    ),
]

VALUES = [
    case(
        "array",
        "import numpy as np\nW = np.arange(6.).reshape(2, 3)",
        NET.format("(W.tolist(), str(W.dtype))"),
    ),
    case(
        "big array",
        "import numpy as np\nW = np.random.RandomState(0).rand(300, 50)",
        NET.format("float(W.sum())"),
    ),
    case(
        "array of text", "import numpy as np\nW = np.array(['a', 'bc'])", NET.format("W.tolist()")
    ),
    case(
        "numpy scalar",
        "import numpy as np\ns = np.float32(2.5)",
        NET.format("(float(s), type(s).__name__)"),
    ),
    case(
        "dict of arrays",
        "import numpy as np\nD = {'a': np.ones(2), 'b': [np.zeros(1), (1, None)]}",
        NET.format("[D['a'].tolist(), D['b'][0].tolist(), D['b'][1]]"),
    ),
    case("tensor", "import torch\nT = torch.arange(4)", NET.format("(T.tolist(), str(T.dtype))")),
    case(
        "tensor with gradient",
        "import torch\nT = torch.ones(2, requires_grad=True)",
        NET.format("T.requires_grad"),
    ),
    case(
        "tensor as class attribute",
        "import torch\nW = torch.ones(3)",
        "class Net:\n    w = W * 2\n    def forward(self, x): return self.w.tolist()",
    ),
    case(
        "frame",
        "import pandas as pd\ndf = pd.DataFrame({'a': [1, 2], 'b': ['x', None]}, index=[5, 7])",
        NET.format("(df.a.tolist(), list(df.index), df.b.isna().tolist(), str(df.dtypes['a']))"),
    ),
    case(
        "series",
        "import pandas as pd\ns = pd.Series([1.5, 2.5], name='s')",
        NET.format("(s.tolist(), s.name)"),
    ),
    case(
        "dates in a frame",
        "import pandas as pd\ndf = pd.DataFrame({'t': pd.to_datetime(['2026-01-01', '2026-02-01'])})",
        NET.format("df.t.dt.month.tolist()"),
    ),
    case("path", "from pathlib import Path\nP = Path('a') / 'b'", NET.format("P.as_posix()")),
    case("sets", "S = {3, 1, 2}\nF = frozenset('ba')", NET.format("(sorted(S), sorted(F))")),
    case(
        "numbers that are no numbers",
        "import math\nA, B = float('inf'), float('nan')",
        NET.format("(A, math.isnan(B), 1j)"),
    ),
    case("bytes", "B = bytes(range(256))", NET.format("B[65:68]")),
    case("long text", "T = 'x' * 50_000", NET.format("len(T)")),
    case(
        "ordered and default dicts",
        "from collections import OrderedDict, defaultdict, Counter\nO = OrderedDict(b=1, a=2)\nC = Counter('aab')",
        NET.format("(list(O), C['a'])"),
    ),
    case(
        "dates",
        "import datetime\nd = datetime.date(2026, 1, 2)\nt = datetime.timedelta(seconds=5)",
        NET.format("(d.isoformat(), t.total_seconds())"),
    ),
    case("regular expression", "import re\nP = re.compile(r'a+')", NET.format("P.findall('caat')")),
    case(
        "torch dtype and device",
        "import torch\nD, V = torch.float64, torch.device('cpu')",
        NET.format("(str(D), str(V))"),
    ),
    case(
        "slice and range",
        "S, R = slice(1, 3), range(0, 9, 2)",
        NET.format("([0, 1, 2, 3][S], list(R))"),
    ),
    case(
        "random generator",
        "import random\nrng = random.Random(3)",
        NET.format("hasattr(rng, 'random')"),
    ),
]

TORCH_NET = """
class Net(nn.Module):
    def __init__(self, hidden=4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, hidden), act, nn.Linear(hidden, 2))
    def forward(self, x):
        return self.layers(x)
"""
TORCH = [
    case(
        "module with an activation made outside",
        "import torch\nfrom torch import nn\nact = nn.ReLU()",
        TORCH_NET,
        asked="sorted(Net().state_dict())",
    ),
    case(
        "weights of a module made outside",
        "import torch\nfrom torch import nn\ntorch.manual_seed(3)\ntrained = nn.Linear(2, 2)",
        NET.format("trained.weight.tolist()"),
    ),
    case(
        "functional",
        "import torch\nimport torch.nn.functional as F",
        NET.format("F.relu(torch.tensor([-1., 2.])).tolist()"),
    ),
    case(
        "init function of torch",
        "from torch.nn.init import xavier_uniform_ as xavier",
        NET.format("xavier.__name__"),
    ),
    case(
        "annotations with dimensions",
        "from nbautoml import Int, Float, Choice\nimport torch\nfrom torch import nn",
        "class Net(nn.Module):\n    def __init__(self, h: Int(2, 8) = 4, act: Choice(nn.ReLU, nn.Tanh) = nn.ReLU):\n        super().__init__()\n        self.l = nn.Sequential(nn.Linear(2, h), act())",
        asked="(repr(Net.__init__.__annotations__['h']), Net.__init__.__annotations__['act'].options)",
    ),
    case(
        "choice of own classes",
        "from nbautoml import Choice",
        "class A:\n    k = 1\nclass B:\n    k = 2\nkind = Choice(A, B)",
        NET.format("[kind.resolve(o).k for o in kind.options]"),
    ),
    case(
        "choice of members of an enumeration",
        "from enum import Enum\nfrom nbautoml import Choice",
        "class Act(str, Enum):\n    RELU = 'relu'\n    TANH = 'tanh'\nact = Choice(*Act)",
        NET.format(
            "[(o, act.resolve(o) is Act(v), act.label(Act(v))) for o, v in zip(act.options, ('relu', 'tanh'))]"
        ),
    ),
    case(
        "choice of own functions",
        "from nbautoml import Choice",
        "def a(x): return 1\ndef b(x): return 2\npick = Choice(a, b)",
        NET.format("[pick.resolve(o)(x) for o in pick.options]"),
    ),
    case(
        "dataset",
        "import torch\nclass Points(torch.utils.data.Dataset):\n    def __len__(self): return 3\n    def __getitem__(self, i): return i",
        NET.format("Points()[1]"),
    ),
    case(
        "autograd function",
        "import torch\nclass Sq(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x * x\n    @staticmethod\n    def backward(ctx, g): return g",
        NET.format("Sq.apply(torch.tensor(3.)).item()"),
    ),
]

VALUE_CASES: list[Case] = [*KINDS, *VALUES, *TORCH]
