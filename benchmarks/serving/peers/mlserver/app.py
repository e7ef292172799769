"""MLServer and its scikit-learn runtime, from settings files. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    folder, port = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    settings = folder / "mlserver"
    settings.mkdir(exist_ok=True)
    # No pool of processes and no log line for each request: on one core both only cost.
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": 0,
        "debug": False,
    }
    model = {
        "name": "bench",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.joblib")},
    }
    (settings / "settings.json").write_text(json.dumps(server))
    (settings / "model-settings.json").write_text(json.dumps(model))
    os.chdir(settings)
    os.execvp("mlserver", ["mlserver", "start", str(settings)])  # noqa: S606, S607  # no shell; PATH begins with this environment
