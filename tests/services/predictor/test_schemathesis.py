"""What the server does is what its OpenAPI document says: Schemathesis asks a real server everything it can think of.

It sends the examples, every edge of every schema, what breaks the schemas, and other methods. Each answer has a status,
content type, headers and body of the document; what breaks a schema is refused.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Whether a request that fits is also accepted, no schema can say (`openapi_schema`). Explanations of a model without
# features are 501. Routes with a version are those without.
_CONFIG = """
[checks]
positive_data_acceptance.enabled = false
not_a_server_error.expected-statuses = ["2xx", "4xx", "501"]

[[operations]]
include-path-regex = "/versions/"
enabled = false

[phases.stateful]
enabled = false
"""


def test_the_server_keeps_to_its_document(
    mixed_package: Path, regression_package: Path, tensors_file: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    models = {"mixed": mixed_package, "numbers only": regression_package, "tensors": tensors_file}
    predictor = start(models).wait_ready()
    config = tmp_path / "schemathesis.toml"
    config.write_text(_CONFIG)
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run"]
    options = ["--generation-deterministic", "--max-examples", "10", "--no-color"]
    url = f"http://127.0.0.1:{predictor.port}/openapi.json"
    run = subprocess.run(
        [*command, url, *options], capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert predictor.stop() == 0
    assert "level=ERROR" not in predictor.log
