#!/usr/bin/env python3
"""Generates the messages of the wire format from ../../proto into src/offer_ranker/v1.

Building the package runs this by itself; to work in the tree, run it by hand with grpcio-tools installed. What it
writes is not under version control. In a source distribution there is no ../../proto: what was generated came along.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"
SOURCE = HERE / "src"
# The client ranks and reports; it does not administer, so it needs neither catalog nor log.
FILES = ["money", "ranking", "feedback"]


def generate() -> None:
    """Writes the modules anew.

    Raises SystemExit where the compiler refuses a file.
    """
    from grpc_tools import _proto as well_known
    from grpc_tools import protoc

    target = SOURCE / "offer_ranker" / "v1"
    shutil.rmtree(target, ignore_errors=True)
    arguments = [
        f"--proto_path={PROTO}",
        f"--proto_path={Path(next(iter(well_known.__path__)))}",
        f"--python_out={SOURCE}",
        f"--pyi_out={SOURCE}",
        *(f"offer_ranker/v1/{name}.proto" for name in FILES),
    ]
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("the wire format could not be compiled")
    (target / "__init__.py").write_text('"""Messages of the wire format, generated."""\n')


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:
    pass
else:

    class GenerateHook(BuildHookInterface[Any]):
        """Generates before the package is built."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if PROTO.is_dir():
                generate()


if __name__ == "__main__":
    generate()
