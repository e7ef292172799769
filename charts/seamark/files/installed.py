"""What `helm test` runs: `python -c ... URL...`. Every address must answer 200 within two minutes.

`crds` among the addresses asks the API server for Seamark's kinds; every service account may read what it serves.
"""
# ruff: noqa: TID251, S310, PTH123, T201  # no part of the core; addresses come from the chart; its output is its report

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
KINDS = {"ModelDeployment", "ModelRevision", "ModelDeploymentState"}
SECONDS = float(os.environ.get("SECONDS", "120"))


def get(address, token="", authority=None):
    """The body of a 200 answer; raises `OSError` for any other and for none."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    context = ssl.create_default_context(cafile=authority) if authority else None
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        return answer.read(2**20)


def served_kinds():
    """The kinds that the API server has in seamark.dev/v1alpha1."""
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    with open(f"{ACCOUNT}/token") as file:
        token = file.read()
    listed = json.loads(get(f"{server}/apis/seamark.dev/v1alpha1", token, f"{ACCOUNT}/ca.crt"))
    return {resource["kind"] for resource in listed["resources"]}


def problem(address):
    """Why the address does not do; empty if it does."""
    try:
        if address != "crds":
            get(address)
            return ""
        missing = KINDS - served_kinds()
        return f"not served: {', '.join(sorted(missing))}" if missing else ""
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return str(getattr(error, "reason", error))


def wait(address, until):
    """The last problem, or empty as soon as there is none."""
    while (found := problem(address)) and time.monotonic() < until:
        time.sleep(1)
    print(f"{address}: {found or 'ok'}", flush=True)
    return found


until = time.monotonic() + SECONDS
problems = [wait(address, until) for address in sys.argv[1:]]
sys.exit(1 if any(problems) else 0)
