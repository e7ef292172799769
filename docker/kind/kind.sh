#!/usr/bin/env bash
# A local cluster in Docker with what Seamark needs: KServe in Standard mode, Envoy Gateway and the Gateway that models are
# reached through, at http://localhost:8080. Repeating `up` finishes what was broken off.
# usage: docker/kind/kind.sh up | load IMAGE... | down
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=seamark context=kind-$name

# The versions that Seamark is tested with. kind's node image is pinned by its digest.
node=kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a
cert_manager=v1.17.0 gateway=v1.9.1 kserve=v0.20.0

die() { echo "Cannot use kind: $*" >&2; exit 2; }

need() { # need COMMAND WHERE
  command -v "$1" >/dev/null || die "there is no command $1; see $2"
}

install() { # install RELEASE NAMESPACE ARGUMENT...: a chart, into this cluster only
  local release=$1 namespace=$2
  shift 2
  echo "$release"
  helm upgrade --install "$release" --kube-context "$context" --namespace "$namespace" --create-namespace \
    --wait --timeout 10m "$@" >/dev/null
}

up() {
  need kubectl https://kubernetes.io/docs/tasks/tools/
  need helm https://helm.sh/docs/intro/install/
  if kind get clusters 2>/dev/null | grep -qx "$name"; then
    kind export kubeconfig --name "$name"
  else
    kind create cluster --name "$name" --image "$node" --config "$here/cluster.yaml" --wait 2m
  fi
  install cert-manager cert-manager cert-manager --repo https://charts.jetstack.io --version "$cert_manager" \
    --set crds.enabled=true
  install eg envoy-gateway-system oci://docker.io/envoyproxy/gateway-helm --version "$gateway"
  install kserve-crd kserve oci://ghcr.io/kserve/charts/kserve-crd --version "$kserve"
  install kserve kserve oci://ghcr.io/kserve/charts/kserve-resources --version "$kserve" \
    --set kserve.controller.deploymentMode=Standard \
    --set kserve.controller.gateway.disableIstioVirtualHost=true \
    --set kserve.controller.gateway.ingressGateway.enableGatewayApi=true
  echo gateway
  kubectl --context "$context" apply -f "$here/gateway.yaml" >/dev/null
  kubectl --context "$context" -n kserve wait --for=condition=Programmed gateway/kserve-ingress-gateway --timeout=5m
  echo "Ready: kubectl's context is $context, models will answer at http://localhost:8080"
}

case ${1:-} in up | load | down) ;; *) die 'say up, load IMAGE... or down' ;; esac
need docker https://docs.docker.com/get-docker/
need kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
docker info >/dev/null 2>&1 || die 'no Docker answers here; start it'
case $1 in
  up) up ;;
  load) kind load docker-image --name "$name" "${@:2}" ;;
  down) kind delete cluster --name "$name" ;;
esac
