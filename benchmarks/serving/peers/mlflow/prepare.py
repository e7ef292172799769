"""Saves the model as an MLflow folder, FOLDER/mlflow. Usage: prepare.py FOLDER"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import joblib
import mlflow.sklearn

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shutil.rmtree(folder / "mlflow", ignore_errors=True)
    mlflow.sklearn.save_model(
        joblib.load(folder / "model.joblib"), folder / "mlflow", serialization_format="cloudpickle"
    )
