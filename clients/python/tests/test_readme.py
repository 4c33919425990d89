"""The examples that people copy."""

import re
from pathlib import Path

import pytest
from conftest import ROOT

EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("readme", ["README.md", "clients/python/README.md"])
def test_the_example_works_as_it_stands(readme: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = EXAMPLE.findall(Path(ROOT, readme).read_text())
    assert "127.0.0.1:50051" in example
    patient = example.replace('"127.0.0.1:50051"', f'"{target}", timeout_s=20.0')
    exec(compile(patient, readme, "exec"), {})
    assert capsys.readouterr().out.startswith("['")
