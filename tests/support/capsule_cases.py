"""Notebooks in a few cells, each with an expression whose value the capsule must give as well."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "NET", "Case", "case"]


@dataclass(frozen=True)
class Case:
    """Cells in the order in which they are run, and what is asked of both."""

    name: str
    cells: tuple[str, ...]
    asked: str = "Net().forward(3)"
    roots: tuple[str, ...] = ("Net",)


def case(name: str, *cells: str, **more: object) -> Case:
    return Case(name, cells, **more)


NET = "class Net:\n    def forward(self, x):\n        return {}\n"

DEFINITIONS = [
    case(
        "base of an earlier cell",
        "class Base:\n    k = 2",
        "class Net(Base):\n    def forward(self, x): return x * self.k",
    ),
    case("helper of an earlier cell", "def twice(x): return 2 * x", NET.format("twice(x)")),
    case(
        "helper of a helper",
        "K = 5",
        "def add(x): return x + K",
        "def twice(x): return 2 * add(x)",
        NET.format("twice(x)"),
    ),
    case("constants", "A, B = 1, 2\nC = D = 4", NET.format("(A, B, C, D, x)")),
    case("tuple unpacked with a star", "first, *rest = [1, 2, 3]", NET.format("(first, rest)")),
    case("a constant counted up", "n = 1", "n += 2", "n += 2", NET.format("n")),
    case("a walrus", "if (m := 7) > 3:\n    pass", NET.format("m + x")),
    case("a class defined again", NET.format("'old'"), NET.format("'new'")),
    case(
        "a helper defined again",
        "def f(x): return 'old'",
        NET.format("f(x)"),
        "def f(x): return 'new'",
    ),
    case("cells out of order", NET.format("late(x)"), "def late(x): return x + 1"),
    case(
        "mutual recursion",
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n > 0 and even(n - 1)",
        NET.format("even(x)"),
    ),
    case("recursion", "def fact(n): return n * fact(n - 1) if n else 1", NET.format("fact(x)")),
    case(
        "top level if",
        "import sys\nif sys.version_info > (3,):\n    def f(x): return 'three'\nelse:\n    def f(x): return 'two'",
        NET.format("f(x)"),
    ),
    case(
        "top level try",
        "try:\n    import notthere_at_all as json\nexcept ImportError:\n    import json",
        NET.format("json.dumps(x)"),
    ),
    case("top level for", "total = 0\nfor i in range(4):\n    total += i", NET.format("total")),
    case(
        "top level with",
        "import contextlib\nwith contextlib.suppress(ValueError):\n    q = int('7')",
        NET.format("q"),
    ),
    case("a name deleted and made again", "z = 1", "del z", "z = 2", NET.format("z")),
    case(
        "nested classes",
        "class Outer:\n    class Inner:\n        k = 4",
        NET.format("Outer.Inner.k + x"),
    ),
    case(
        "names of other languages",
        "größe = 3\ndef 加(a, b): return a + b",
        NET.format("加(größe, x)"),
    ),
    case(
        "names that hide builtins",
        "def max(a, b): return 'mine'\nlist = [1, 2]",
        NET.format("(max(1, 2), list, min(1, 2))"),
    ),
    case("windows newlines", "def f(x):\r\n    return x + 1\r\n", NET.format("f(x)")),
    case("tabs", "def f(x):\n\tif x:\n\t\treturn 'tab'", NET.format("f(x)")),
    case("semicolons", "a = 1; b = 2; f = lambda x: x + b", NET.format("f(a)")),
    case("text over lines", "TEXT = '''one\n  two\n'''", NET.format("TEXT")),
    case(
        "a docstring left of its body",
        'def f(x):\n    """one\ntwo"""\n    return x',
        NET.format("(f(x), f.__doc__)"),
    ),
    case(
        "global assigned in a function",
        "count = 0\ndef tick():\n    global count\n    count += 1\n    return count",
        NET.format("(tick(), tick())[1]"),
    ),
    case(
        "async function",
        "async def later(x): return x + 1",
        "def done(task):\n    try:\n        task.send(None)\n    except StopIteration as end:\n"
        "        return end.value",
        NET.format("done(later(x))"),
    ),
    case("generator function", "def up(n):\n    yield from range(n)", NET.format("list(up(x))")),
    case("comprehension at the top", "S = {i: i * i for i in range(4)}", NET.format("S[x]")),
    case(
        "a root that is a function", "def make(k=2): return k * 10", asked="make()", roots=("make",)
    ),
    case(
        "two roots",
        "def a(): return 1\ndef b(): return a() + 1",
        asked="(a(), b())",
        roots=("a", "b"),
    ),
]

IMPORTS = [
    case("alias", "import collections as c", NET.format("c.Counter('aab')['a']")),
    case("from import as", "from math import sqrt as root", NET.format("root(x * 3)")),
    case("star", "from math import *", NET.format("(pi, floor(2.5))")),
    case(
        "submodule",
        "import os.path\nimport xml.etree.ElementTree as ET",
        NET.format("(os.path.basename('a/b'), ET.__name__)"),
    ),
    case(
        "submodule loaded elsewhere",
        "import torch\nimport torch.nn.utils.parametrize",
        NET.format("torch.nn.utils.parametrize.is_parametrized.__name__"),
    ),
    case(
        "future annotations",
        "from __future__ import annotations\nclass Net:\n    def __init__(self, k: NotDefined = 3): self.k = k\n    def forward(self, x): return (self.k, Net.__init__.__annotations__)",
    ),
    case(
        "future annotations that are bases, too",
        "from __future__ import annotations\nimport dataclasses\nclass Base: pass\n@dataclasses.dataclass\nclass Net(Base):\n    k: Base | None = None\n    f: dataclasses.Field = None\n    def forward(self, x): return isinstance(self, Base)",
    ),
    case(
        "types and values that annotations have as text",
        "from typing import Literal\nfrom nbautoml import Choice",
        "class Net:\n    def __init__(self, kind: Choice('gru', 'lstm') = 'gru', act: Literal['relu', 'tanh'] = 'relu', next: 'Net | None' = None, other: list['Nowhere'] = ()): self.kind = kind\n    def forward(self, x): return (self.kind, act_of(self))\ndef act_of(net): return Net.__init__.__annotations__['kind'].options",
    ),
    case(
        "import in a cell with a magic",
        "%pwd\nimport json\n!echo hi",
        NET.format("json.dumps([x])"),
    ),
    case("output of a shell line", "lines = !echo one", NET.format("list(lines)")),
    case("a timed cell", "%%time\ndef f(x): return x + 1", NET.format("f(x)")),
    case("a captured cell", "%%capture\ndef f(x): return x + 2", NET.format("f(x)")),
    case(
        "a failed cell",
        "def f(x): return 'whole'",
        "def f(x): return 'whole too'\nraise ValueError\ndef f(x): return 'never'",
        NET.format("f(x)"),
    ),
    case(
        "a cell with an error of syntax",
        "def f(x): return 1",
        "def f(x) return 2",
        NET.format("f(x)"),
    ),
    case(
        "a thing of an installed package",
        "from sklearn.preprocessing import StandardScaler",
        NET.format("StandardScaler.__name__"),
    ),
    case("builtin function under another name", "size = len", NET.format("size('abc')")),
]

WRAPPED = [
    case(
        "decorator with wraps",
        "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def inner(*a): return f(*a) + 100\n    return inner\n@deco\ndef f(x): return x",
        NET.format("f(x)"),
    ),
    case(
        "decorator without wraps",
        "def deco(f):\n    def inner(*a): return f(*a) + 100\n    return inner\n@deco\ndef f(x): return x",
        NET.format("f(x)"),
    ),
    case(
        "decorated by hand",
        "def deco(f):\n    def inner(*a): return f(*a) + 100\n    return inner\ndef f(x): return x\nf = deco(f)",
        NET.format("f(x)"),
    ),
    case(
        "decorator that registers under a name",
        "TABLE = {}\ndef reg(name):\n    def deco(f):\n        TABLE[name] = f\n        return f\n    return deco\n@reg('a')\ndef f(x): return x + 1\n@reg('b')\ndef g(x): return x + 2",
        NET.format("[TABLE[k](x) for k in sorted(TABLE)]"),
    ),
    case(
        "decorator with arguments",
        "def add(n):\n    def deco(f):\n        def inner(*a): return f(*a) + n\n        return inner\n    return deco\n@add(10)\n@add(5)\ndef f(x): return x",
        NET.format("f(x)"),
    ),
    case(
        "decorated class",
        "def named(cls):\n    cls.name = 'n'\n    return cls\n@named\nclass Net:\n    def forward(self, x): return self.name",
    ),
    case(
        "decorator that registers",
        "TABLE = {}\ndef reg(f):\n    TABLE[f.__name__] = f\n    return f\n@reg\ndef f(x): return x",
        NET.format("(sorted(TABLE), f(x))"),
    ),
    case(
        "lru_cache",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)",
        NET.format("fib(10)"),
    ),
    case(
        "cached_property, property, classmethod, staticmethod",
        "import functools\nclass Net:\n    @functools.cached_property\n    def a(self): return 1\n    @property\n    def b(self): return 2\n    @classmethod\n    def c(cls): return cls.__name__\n    @staticmethod\n    def d(x): return x\n    def forward(self, x): return (self.a, self.b, self.c(), self.d(x))",
    ),
    case(
        "partial",
        "import functools\ndef p(a, b=1): return a * b\nthrice = functools.partial(p, b=3)",
        NET.format("thrice(x)"),
    ),
    case(
        "singledispatch",
        "import functools\n@functools.singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'",
        NET.format("(f(x), f('a'))"),
    ),
    case(
        "closure",
        "def make(n):\n    def h(x): return x + n\n    return h\nadd5 = make(5)",
        NET.format("add5(x)"),
    ),
    case(
        "closure over a function",
        "def make(g):\n    def h(x): return g(x) * 2\n    return h\ndef one(x): return x + 1\ntwo = make(one)",
        NET.format("two(x)"),
    ),
    case(
        "closure over an array",
        "import numpy as np\ndef make(w):\n    def h(x): return (w * x).tolist()\n    return h\nscaled = make(np.arange(3))",
        NET.format("scaled(x)"),
    ),
    case(
        "class made in a function",
        "def make(k):\n    class Net:\n        def forward(self, x): return x * k\n    return Net\nNet = make(6)",
    ),
    case("lambda", "f = lambda x, y=2: x * y", NET.format("f(x)")),
    case(
        "lambda that holds a value",
        "def make(n): return lambda x: x + n\nf = make(4)",
        NET.format("f(x)"),
    ),
    case(
        "lambdas in a table",
        "OPS = {'add': lambda a, b: a + b,\n       'mul': lambda a, b: a * b}",
        NET.format("OPS['mul'](x, 2)"),
    ),
    case(
        "functions in a table",
        "def a(x): return 'a'\ndef b(x): return 'b'\nTABLE = {'a': a, 'b': b}",
        NET.format("TABLE['b'](x)"),
    ),
    case(
        "a method taken out",
        "class Box:\n    def __init__(self, n): self.n = n\n    def get(self, x): return self.n + x\nbox = Box(3)",
        NET.format("box.get(x)"),
    ),
    case(
        "super",
        "class Base:\n    def __init__(self, k): self.k = k\nclass Net(Base):\n    def __init__(self):\n        super().__init__(9)\n    def forward(self, x): return self.k",
    ),
    case(
        "metaclass",
        "class Meta(type):\n    def __new__(m, name, bases, space):\n        return super().__new__(m, name, bases, {**space, 'tag': name.lower()})\nclass Net(metaclass=Meta):\n    def forward(self, x): return self.tag",
    ),
    case(
        "slots",
        "class Net:\n    __slots__ = ('k',)\n    def __init__(self): self.k = 1\n    def forward(self, x): return self.k",
    ),
]

CASES = [*DEFINITIONS, *IMPORTS, *WRAPPED]
