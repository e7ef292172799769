"""`python -m seamark_predictor.sources.registry_client URI FOLDER`: downloads a registered model with MLflow."""

from __future__ import annotations

import sys


def main(uri: str, folder: str) -> int:
    """Exit status 0, or 1 and the reason as the last line on standard error."""
    try:
        from mlflow.artifacts import download_artifacts

        download_artifacts(artifact_uri=uri, dst_path=folder)
    except Exception as error:
        # MLflow and the clients of its stores raise anything.
        sys.stderr.write(f"\n{' '.join(str(error).split()) or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
