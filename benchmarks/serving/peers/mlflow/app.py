"""MLflow's scoring server with one worker, on the folder that prepare.py saved. Usage: app.py FOLDER PORT"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    model = Path(sys.argv[1]) / "mlflow"
    address = ["-h", "127.0.0.1", "-p", sys.argv[2], "-w", "1"]
    arguments = ["models", "serve", "-m", str(model), *address, "--env-manager", "local"]
    os.execvp("mlflow", ["mlflow", *arguments])  # noqa: S606, S607  # no shell; PATH begins with this environment
