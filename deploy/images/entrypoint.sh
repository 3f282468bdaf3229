#!/usr/bin/env bash
# Spark starts its executors' pods with the argument `executor`, and says the rest in the environment
# (org.apache.spark.deploy.k8s.features.BasicExecutorFeatureStep). Everything else is a command of its own.
set -euo pipefail

if [ "${1:-}" != executor ]; then
  exec tini -s -- "$@"
fi

options=()
number=0
while option="SPARK_JAVA_OPT_${number}" && [ -n "${!option+set}" ]; do
  options+=("${!option}")
  number=$((number + 1))
done

exec tini -s -- java \
  "${options[@]}" \
  "-Xms${SPARK_EXECUTOR_MEMORY}" \
  "-Xmx${SPARK_EXECUTOR_MEMORY}" \
  -cp "${SPARK_CONF_DIR:-${SPARK_HOME}/conf}:${SPARK_HOME}/jars/*" \
  org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
  --driver-url "${SPARK_DRIVER_URL}" \
  --executor-id "${SPARK_EXECUTOR_ID}" \
  --cores "${SPARK_EXECUTOR_CORES}" \
  --app-id "${SPARK_APPLICATION_ID}" \
  --hostname "${SPARK_EXECUTOR_POD_IP}" \
  --resourceProfileId "${SPARK_RESOURCE_PROFILE_ID}" \
  --podName "${SPARK_EXECUTOR_POD_NAME}"
