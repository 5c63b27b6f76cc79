"""The user's own network: `package.module:factory` or `file.py:Class`, which makes the module without its values."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from probe.errors import ConfigurationError, ProbeError, suggestion

Factory = Callable[..., Any]


def make_network(model: str, given: Mapping[str, Any], stored: Mapping[str, Any], seed: int = 0) -> nn.Module:
    """Calls a factory.

    Args:
        model: `package.module:factory` or `file.py:Class`.
        given: The user's arguments, all of which are passed.
        stored: Arguments that the checkpoint holds; those that the factory has a parameter for are passed too.
        seed: Of what it draws; the global random state is left alone.

    Raises:
        ConfigurationError: there is no such factory, it fails, or what it makes is no module.
    """
    factory = load_factory(model)
    arguments = {**{name: value for name, value in stored.items() if name in _parameters(factory)}, **given}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = factory(**arguments)
    except ProbeError:
        raise
    except Exception as error:  # the code is the user's
        called = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ConfigurationError(
            f"--model {model}: {factory.__name__}({called}) fails ({type(error).__name__}: {_line(error)}). It takes "
            f"{factory.__name__}{_signature(factory)}; give its arguments with --model-args NAME=VALUE."
        ) from error
    if not isinstance(made, nn.Module):
        raise ConfigurationError(f"--model {model}: makes a {type(made).__name__}, a torch.nn.Module is expected.")
    return made


def load_factory(model: str) -> Factory:
    """Imports a factory.

    Raises:
        ConfigurationError: the text is not of either form, the module cannot be imported, or has no such name.
    """
    home, _, name = model.rpartition(":")
    if not (home and name):
        raise ConfigurationError(f"--model '{model}' is not of the form package.module:factory or file.py:Class.")
    try:
        module = _file(Path(home)) if home.endswith(".py") else _module(home)
    except ProbeError:
        raise
    except Exception as error:  # importing runs the user's code
        raise ConfigurationError(
            f"--model {model}: importing it fails ({type(error).__name__}: {_line(error)})."
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise ConfigurationError(
            f"--model {model}: {home} has no class or function '{name}'. {suggestion(name, known)}"
        )
    factory: Factory = found
    return factory


def source_digest(model: str) -> str:
    """Returns the SHA-256 of the file that a factory stands in: edited code makes another network."""
    try:
        file = inspect.getsourcefile(load_factory(model))
    except TypeError:
        file = None
    return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()


def _module(name: str) -> ModuleType:
    # As with `python -m`, the user's own packages are found in the folder that the command runs in.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _file(path: Path) -> ModuleType:
    whole = path.resolve()
    if not whole.is_file():
        raise ConfigurationError(f"--model {path}: there is no such file.")
    name = f"probe_model_{hashlib.sha256(bytes(whole)).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(whole.parent))  # what stands beside the file is imported as when it is run
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(whole.parent))
    return module


def _parameters(factory: Factory) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return ()


def _signature(factory: Factory) -> str:
    try:
        return str(inspect.signature(factory))
    except (TypeError, ValueError):
        return "(...)"


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
