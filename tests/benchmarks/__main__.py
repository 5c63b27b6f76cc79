"""Runs every benchmark, or those named on the command line: `python -m tests.benchmarks analyze_speed`."""

import importlib
import pkgutil
import sys

import tests.benchmarks


def main() -> None:
    names = [module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__) if module.name != "__main__"]
    for name in sys.argv[1:] or names:
        print(f"\n{name.replace('_', ' ')}", flush=True)
        importlib.import_module(f"tests.benchmarks.{name}").main()


main()
