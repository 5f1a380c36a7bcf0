"""Nothing that is read may run: the project's own source is searched for the ways in which it could.

Names are followed through imports, not through `getattr` or a variable: this guards against oversight,
not malice.
"""

import ast

import pytest

from physmis.paths import ROOT

SOURCES = [*(ROOT / "physmis").rglob("*.py"), *ROOT.glob("notebooks/*.py"), *ROOT.glob("benchmarks/*.py")]

# Each of these runs what it is given, or what a file holds. A module stands for all that is in it.
BUILTINS = {"__import__", "compile", "eval", "exec"}
REFUSED = BUILTINS | {
    *("_pickle", "cloudpickle", "dill", "marshal", "pickle", "shelve"),
    *("builtins", "code", "importlib.import_module", "importlib.util.spec_from_file_location", "runpy"),
    *("joblib.dump", "joblib.load", "joblib.Memory", "joblib.Parallel", "multiprocessing"),
    *("os.popen", "os.system", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("pandas.eval", "pandas.read_pickle"),
    *("torch.hub", "torch.jit.load", "torch.load", "torch.package", "torch.save"),
    *("yaml.full_load", "yaml.load", "yaml.load_all", "yaml.unsafe_load"),
}
# These may be called, with nothing but `allow_pickle=False`.
UNPICKLING = {"numpy.lib.format.read_array", "numpy.load"}
# A word in any call, and the one value that it may have.
ONLY = {"allow_pickle": False, "shell": False, "weights_only": True}

OWN_PROCESSES = "passes work to processes that it starts itself"
ALLOWED = {
    ("physmis/audit/cli.py", "importlib.import_module"): "the user names a module of theirs in --measure",
    ("physmis/audit/cli.py", "importlib.util.spec_from_file_location"): "or a file of theirs",
    (
        "physmis/teaching/widgets.py",
        "importlib.import_module",
    ): "one of the package's own modules, by a table",
    ("physmis/experiments/parallel.py", "joblib.Parallel"): OWN_PROCESSES,
    (
        "physmis/experiments/cluster.py",
        "cloudpickle",
    ): "what a cluster's workers are to do, packed by this process",
    ("physmis/experiments/cluster.py", "pickle"): "and unpacked by them, as all that Dask sends them",
    ("benchmarks/cost.py", "multiprocessing"): OWN_PROCESSES,
    ("benchmarks/kernels.py", "multiprocessing"): OWN_PROCESSES,
}


def dangers(source):
    """Pairs of a line and a name: all that could run data, in Python source."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    names = {name: name for name in BUILTINS}  # as they are called here -> in full
    met = []  # lines and full names
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                names[alias.asname or root] = alias.name if alias.asname else root
                met.append((node.lineno, alias.name))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                met.append((node.lineno, f"{node.module}.{alias.name}"))

    def full(node):
        if isinstance(node, ast.Attribute):
            return f"{full(node.value)}.{node.attr}"
        return names.get(node.id, "?") if isinstance(node, ast.Name) else "?"

    met += [(node.lineno, full(node)) for node in nodes if isinstance(node, ast.Name | ast.Attribute)]
    found = {(line, name) for line, met_name in met for name in _within(met_name) & REFUSED}
    # From a module of which a part is refused, not everything may be imported.
    parts = {above for name in REFUSED | UNPICKLING for above in _within(name)}
    found |= {(line, name) for line, name in met if name.endswith(".*") and name[:-2] in parts}

    safe = set()
    for node in nodes:
        if isinstance(node, ast.Call):
            given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            found |= {(node.lineno, w) for w in given.keys() & ONLY.keys() if given[w] is not ONLY[w]}
            if given.get("allow_pickle") is False:
                safe.add(node.func)
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute) and full(node) in UNPICKLING and node not in safe:
            found.add((node.lineno, full(node)))
    return found


def _within(name):
    """`a.b.c` lies within `a`, `a.b` and `a.b.c`."""
    parts = name.split(".")
    return {".".join(parts[:k]) for k in range(1, len(parts) + 1)}


def test_no_data_is_run():
    assert len(SOURCES) > 50
    found = {
        (path.relative_to(ROOT).as_posix(), name): line
        for path in SOURCES
        for line, name in dangers(path.read_text())
    }
    assert not {
        f"{path}:{line}: {name}" for (path, name), line in found.items() if (path, name) not in ALLOWED
    }
    assert found.keys() == ALLOWED.keys(), "nothing is allowed that is not needed"


@pytest.mark.parametrize(
    "source, name",
    [
        ("eval('1')", "eval"),
        ("exec(open('x').read())", "exec"),
        ("run = exec", "exec"),
        ("builtins = compile('1', 'x', 'eval')", "compile"),
        ("__import__(name)", "__import__"),
        ("import pickle", "pickle"),
        ("def f():\n    from pickle import loads as text", "pickle"),
        ("import cloudpickle.cloudpickle as c", "cloudpickle"),
        ("import marshal as m", "marshal"),
        ("import shelve", "shelve"),
        ("import torch\ntorch.load('x')", "torch.load"),
        ("import torch as t\nread = t.load", "torch.load"),
        ("from torch import load\nload('x')", "torch.load"),
        ("import torch.hub", "torch.hub"),
        ("from torch import *\nload('x')", "torch.*"),
        ("from numpy import *\nload('x')", "numpy.*"),
        ("import joblib\njoblib.load('x')", "joblib.load"),
        ("from joblib import dump as d\nd(1, 'x')", "joblib.dump"),
        ("import joblib\njoblib.Memory('x')", "joblib.Memory"),
        ("import numpy as np\nnp.load('x')", "numpy.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "allow_pickle"),
        ("import numpy as np\nnp.load('x', allow_pickle=maybe)", "numpy.load"),
        ("import numpy as np\nnp.load('x', None, True)", "numpy.load"),
        ("from numpy import load\nmap(load, paths)", "numpy.load"),
        ("import numpy as np\nnp.lib.format.read_array(file)", "numpy.lib.format.read_array"),
        ("import yaml\nyaml.load(text, yaml.Loader)", "yaml.load"),
        ("from yaml import unsafe_load", "yaml.unsafe_load"),
        ("import subprocess\nsubprocess.run(command, shell=True)", "shell"),
        ("from subprocess import Popen\nPopen(command, shell=1)", "shell"),
        ("import subprocess\nsubprocess.getoutput(command)", "subprocess.getoutput"),
        ("import os\nos.system(command)", "os.system"),
        ("from os import popen", "os.popen"),
        ("import runpy\nrunpy.run_path('x')", "runpy"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
        ("read(path, weights_only=False)", "weights_only"),
    ],
)
def test_what_would_run_data_is_found(source, name):
    assert name in {found for _, found in dangers(source)}


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import re\nre.compile('x')",
        "import torch\ntorch.compile(model)",
        "import safetensors.torch\nsafetensors.torch.load(data)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import numpy as np\nnp.savez('x', allow_pickle=False)",
        "import json\njson.load(file)",
        "import ast\nast.literal_eval(text)",
        "import subprocess\nsubprocess.run(['git', 'log'])",
        "from .models import load",
        "import yaml\nyaml.safe_load(text)",
        "pickle = 'a word'",
    ],
)
def test_what_only_reads_is_not(source):
    assert dangers(source) == set()
