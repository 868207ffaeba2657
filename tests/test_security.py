"""What docs/security.md promises about code: nothing that comes in is ever executed."""

import ast
from pathlib import Path

import numpy as np
import pytest

import contrasift
from contrasift.errors import DataError, UsageError
from contrasift.pools import open_pool
from contrasift.store.run import read_recipe

FILES = sorted(Path(contrasift.__file__).parent.rglob("*.py"))
EXECUTING = {"cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def calls(tree):
    """(name as written, keywords) of every call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def forbidden(source):
    """What in a piece of code could execute data."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [name for name in names if name.partition(".")[0] in EXECUTING]
        if isinstance(node, ast.ImportFrom) and node.module == "pickle":
            found.append("from pickle import")
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            # What torch.load raises when it refuses has its name there.
            found += [node.attr] if node.attr != "UnpicklingError" else []
    for name, keywords in calls(tree):
        last = name.rpartition(".")[2]
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{name}(allow_pickle=...)")
        if name == "torch.load" and keywords.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name.startswith("yaml.") and last not in ("safe_load", "safe_dump"):
            found.append(name)
        if name in ("eval", "exec", "os.system") or last in ("extractall", "extract"):
            found.append(name)
        if keywords.get("shell", "False") != "False" or keywords.get("trust_remote_code"):
            found.append(name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_code_executes_data(path):
    assert forbidden(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "from pickle import loads",
        "import pickle\npickle.load(file)",
        "from dill import loads",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader=L)",
        "tar.extractall(folder)",
        "subprocess.run(text, shell=True)",
        "datasets.load_dataset(name, trust_remote_code=True)",
        "eval(text)",
    ],
)
def test_the_check_finds_what_it_looks_for(code):
    assert forbidden(code)


def test_yaml_makes_no_objects():
    for number, text in enumerate(
        ["!!python/object/apply:os.mkdir [pwned]", "pool: !!python/name:os.system"]
    ):
        Path(f"{number}.yaml").write_text(text)
        with pytest.raises((DataError, UsageError), match="expected YAML in"):
            read_recipe(Path(f"{number}.yaml"))
    assert not Path("pwned").exists()


class _Bomb:
    def __reduce__(self):
        import os

        return (os.mkdir, ("pwned",))


def test_arrays_of_objects_are_refused():
    bomb = np.empty(3, dtype=object)
    bomb[:] = [_Bomb(), _Bomb(), _Bomb()]
    np.save("bomb.npy", bomb, allow_pickle=True)
    np.savez("bomb.npz", images=np.zeros((3, 4, 4), np.uint8), labels=bomb)
    for name in ("bomb.npy", "bomb.npz"):
        with pytest.raises(DataError, match="pickled objects are refused"):
            open_pool(name)
    assert not Path("pwned").exists()
